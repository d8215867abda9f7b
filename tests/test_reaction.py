"""``auto`` against detectors that hide gradients or answer at random: restored gradients, scores inside, means, giving up."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor, nn

import robustbench_aigen as ra
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.reaction.distillation import Surrogate
from robustbench_aigen.attacks.reaction.insight import Insight, look_into
from robustbench_aigen.attacks.reaction.restoration import Parts, restored_gradients, stand_in
from robustbench_aigen.attacks.requirements import check_gradients
from robustbench_aigen.data.samples import read_encoded
from robustbench_aigen.detectors.contract import verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.metrics.giving_up import PriceOfGivingUp, largest_price, price_of_giving_up
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import make_stage

CPU = torch.device("cpu")


def small_network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 2)
    )


def jpeg(pixels: Tensor) -> Tensor:
    done = []
    for image in pixels:
        buffer = io.BytesIO()
        array = (image.permute(1, 2, 0).detach().cpu().numpy() * 255).round().astype(np.uint8)
        Image.fromarray(array).save(buffer, "JPEG", quality=75)
        done.append(torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(done)


class Around(nn.Module):
    """A network behind a function, and a function behind the network."""

    def __init__(self, network: nn.Module, before=lambda x: x, after=lambda x: x) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, pixels: Tensor) -> Tensor:
        return self.after(self.network(self.before(pixels)))


class Jpeg(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return jpeg(pixels)


@torch.no_grad()
def darkened(pixels: Tensor) -> Tensor:
    return 0.8 * pixels


def without_grad(pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return (pixels * 15).round() / 15


def thermometer(pixels: Tensor) -> Tensor:
    return (pixels[:, :, None] > (torch.arange(8) / 8).view(1, 1, 8, 1, 1)).float().flatten(1, 2)


def labels(logits: Tensor) -> Tensor:
    return nn.functional.one_hot(logits.argmax(dim=1), 2).float()


LOSING = {
    "a module": lambda: nn.Sequential(Jpeg(), small_network()),
    "a function": lambda: Around(small_network(), jpeg),
    "whole numbers": lambda: Around(small_network(), lambda x: (x * 255).to(torch.uint8).float() / 255),
    "round": lambda: Around(small_network(), lambda x: torch.round(x * 15) / 15),
    "floor in place": lambda: Around(small_network(), lambda x: (x.clone() * 15).floor_() / 15),
    "detach": lambda: Around(small_network(), lambda x: x.detach()),
    "no_grad": lambda: Around(small_network(), without_grad),
    "a decorator": lambda: Around(small_network(), darkened),
    "numpy": lambda: Around(small_network(), lambda x: torch.from_numpy(np.sqrt(x.detach().numpy() + 0.1))),
}


@pytest.mark.parametrize("name", LOSING)
def test_a_lost_gradient_is_restored_and_values_stay(name):
    pixels = nn.functional.interpolate(torch.rand(4, 3, 8, 8), (32, 32), mode="bilinear")
    pixels = (pixels * 255).round() / 255
    plain = pixels.clone().requires_grad_()
    (expected,) = torch.autograd.grad(small_network()(plain)[:, 1].sum(), plain)
    losing, leaf = LOSING[name]().requires_grad_(requires_grad=False), pixels.clone().requires_grad_()
    with restored_gradients(Parts.of(losing)):
        output = losing(leaf)
    (found,) = torch.autograd.grad(output[:, 1].sum(), leaf)
    with torch.no_grad():
        assert torch.allclose(output, losing(pixels), atol=1e-6)
    cosine = nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1))
    assert cosine.min() > 0.5, cosine


def test_modules_are_as_before_after_restoring():
    network = nn.Sequential(Jpeg(), small_network())
    with restored_gradients(Parts.of(network)):
        network(torch.rand(2, 3, 32, 32).requires_grad_())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in network.modules())
    assert not torch.round(torch.rand(3).requires_grad_()).sum().backward()


def test_a_stand_in_has_the_slope_of_a_linear_map():
    before = torch.rand(2, 3, 9, 9).requires_grad_()
    matrix = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, 0.25]])
    after = torch.einsum("dc,nchw->ndhw", matrix, before.detach()) + 0.3
    weights = torch.rand(2, 2, 9, 9)
    (found,) = torch.autograd.grad((stand_in(before, after) * weights).sum(), before)
    expected = torch.einsum("dc,ndhw->nchw", matrix, weights)
    assert torch.allclose(found, expected, atol=0.02)


def attack_task(detector, effort: str = "adaptive", *, rows=slice(None), eps: float = 4 / 255, **given):
    """A task of ``auto`` on images of minigen that the detector judges right."""
    selection = ra.ImageData.open("minigen", split="test", limit=40).selection
    given = {"queries": 100, "steps": 20, "restarts": 1} | given
    levels = torch.stack([decode(read_encoded(selection.source, index)) for index in selection.indices])
    known = torch.tensor([sample.label for sample in selection.samples])
    right = (verdicts(predict(detector, levels, 40, CPU), HALF) == known).nonzero().flatten()[rows]
    stage = make_stage(shipped_attack("auto"), {"eps": eps, "effort": effort, **given})
    names = tuple(selection.samples[row].id for row in right.tolist())
    task = make_task(
        stage, detector, levels[right], known[right], SampleStreams(1, names, 0), threshold=HALF, early_stop=True,
        batch_size=16, device=CPU, precision="fp32",
    )  # fmt: skip
    return stage, task


def withstood(detector, **given) -> tuple[int, list[str]]:
    stage, task = attack_task(detector, **given)
    outcome = run_attack(stage, task, lambda _: None)
    return int((verdicts(outcome.log_odds, HALF) == task.labels).sum()), outcome.found_by


def shown(detector) -> Insight:
    _, task = attack_task(detector)
    return look_into(detector, HALF, task.pixels(torch.arange(16)))


def defended(**functions) -> ra.Detector:
    detector = ra.Detector(Around(ra.load_detector("minigen/lenet5"), **functions))
    detector.see(32, 32)
    return detector


def noisy(pixels: Tensor) -> Tensor:
    return pixels + 0.02 * torch.randn_like(pixels)


class OutsideTorch(nn.Module):
    """Answers from numpy alone: how bright the lower half is, and nothing inside that has a gradient."""

    def __init__(self, *, labels_alone: bool = False) -> None:
        super().__init__()
        self.labels_alone = labels_alone

    def forward(self, pixels: Tensor) -> Tensor:
        lower = pixels.detach().numpy()[:, :, 16:].astype(np.float64).mean(axis=(1, 2, 3))
        odds = np.sign(lower - 0.45) if self.labels_alone else 40 * (lower - 0.45)
        return torch.from_numpy(np.stack([0 * lower, odds], axis=1).astype(np.float32))


@pytest.mark.parametrize(
    ("detector", "routes", "draws"),
    [
        (lambda: ra.load_detector("minigen/lenet5"), {"own"}, 1),
        (lambda: ra.load_detector("minigen/cifake_cnn+pgd"), {"own"}, 1),
        (lambda: defended(before=jpeg), {"restored", "inner"}, 1),
        (lambda: defended(after=labels), {"restored", "inner"}, 1),
        (lambda: defended(before=noisy), {"own", "restored"}, 10),
    ],
    ids=["ordinary", "trained against attacks", "JPEG", "labels", "noise"],
)
def test_an_insight_says_where_gradients_are(detector, routes, draws):
    insight = shown(detector())
    assert insight.route in routes
    assert insight.draws == draws
    assert bool(insight.described()) == (insight != Insight())


def test_an_insight_depends_on_no_earlier_draw():
    detector = defended(before=noisy)
    torch.manual_seed(1)
    first = shown(detector)
    torch.manual_seed(2)
    assert shown(detector) == first


@pytest.mark.parametrize("functions", [{"before": jpeg}, {"after": labels}], ids=["JPEG", "labels"])
def test_auto_breaks_what_hides_its_gradients_from_pgd(functions):
    detector = defended(**functions)
    left, found_by = withstood(detector)
    assert left <= 0.1 * len(found_by)
    with pytest.raises(ra.UserError, match="pgd needs gradients"):
        stage = make_stage(shipped_attack("pgd"), {"eps": 4 / 255})
        check_gradients(stage, defended(before=jpeg))


@pytest.mark.parametrize("labels_alone", [False, True], ids=["scores", "labels"])
def test_auto_attacks_a_surrogate_and_asks_where_nothing_guides_a_step(labels_alone):
    detector = ra.Detector(OutsideTorch(labels_alone=labels_alone))
    detector.see(32, 32)
    insight = shown(detector)
    assert insight.route == "none"
    assert insight.surrogate
    left, found_by = withstood(detector, eps=16 / 255)
    by_transfer = sum(name.startswith("transfer from a distilled surrogate") for name in found_by)
    assert by_transfer > 0
    if labels_alone:  # Scores that never move lead Square nowhere.
        _, task = attack_task(detector, eps=16 / 255)
        square = make_stage(shipped_attack("square"), {"eps": 16 / 255, "steps": 100})
        asked = run_attack(square, task, lambda _: None)
        assert left < (verdicts(asked.log_odds, HALF) == task.labels).sum()


def test_a_surrogate_travels_as_text():
    torch.manual_seed(0)
    surrogate, pixels = Surrogate().eval(), torch.rand(3, 3, 40, 90)
    other = Surrogate.unpacked(surrogate.packed(), CPU)
    assert torch.allclose(other(pixels), surrogate(pixels), atol=2e-2)
    assert not any(each.requires_grad for each in other.parameters())


def test_one_lucky_answer_is_no_success():
    """The verdict of an image that a random detector is fooled by half of the time is that of a new call."""

    def coin(logits: Tensor) -> Tensor:
        return logits.detach() * 0 + torch.randn_like(logits) + torch.tensor([0.0, 3.0])

    detector = defended(after=coin)
    stage, task = attack_task(detector)
    fakes = (task.labels == 1).nonzero().flatten()
    task = task.restricted(fakes, stage.params, 0)
    outcome = run_attack(stage, task, lambda _: None)
    # P(N(3, 2) < 0) = 1.7 %: with a stop at the first wrong answer of 150, nearly all would count as fooled.
    assert (verdicts(outcome.log_odds, HALF) == 1).double().mean() > 0.8


def test_what_is_given_up_depends_on_the_image_alone():
    detector = ra.load_detector("minigen/cifake_cnn+pgd")
    _, whole = withstood(detector, eps=2 / 255)
    _, odd = withstood(detector, eps=2 / 255, rows=slice(1, None, 2))
    assert odd == whole[1::2]
    assert {"given up", "apgd ce"} <= set(whole)


def test_an_exhaustive_auto_gives_up_nothing():
    detector = ra.load_detector("minigen/cifake_cnn+pgd")
    left, found_by = withstood(detector, eps=2 / 255, effort="exhaustive", steps=10)
    assert "given up" not in found_by
    assert found_by.count("withstood all") == left > 0


def test_the_bound_on_the_price_is_that_of_clopper_and_pearson():
    for fell, sampled in ((0, 11), (1, 20), (3, 50)):
        price = PriceOfGivingUp(200, 120, 100, sampled, fell)
        bound = (
            binomtest(fell, sampled).proportion_ci(0.90, "exact").high
        )  # Two-sided 90 % is one-sided 95 %.
        assert price.most == int(100 * bound)
        assert price.expected == pytest.approx(100 * fell / sampled)
    assert PriceOfGivingUp(200, 120, 100, 0, 0).most == 100


def test_the_price_is_counted_from_records():
    found_by = ["given up"] * 5 + ["withstood all"] * 2 + ["square (sample)", "apgd ce", ""]
    cell = pd.DataFrame({
        "attacked": [True] * 9 + [False], "correct": [True] * 7 + [False, False, True], "found_by": found_by,
    })  # fmt: skip
    assert price_of_giving_up(cell) == PriceOfGivingUp(9, 7, 5, 3, 1)
    assert price_of_giving_up(cell[cell["found_by"] != "given up"]) is None
    told = largest_price(cell.assign(pipeline="auto"))
    most = PriceOfGivingUp(9, 7, 5, 3, 1).most
    assert f"gave up on 5 images of 9 under auto; by 3 sampled, at most {most} of them could fall" in told


def test_a_run_names_the_part_that_won_and_the_price():
    run = ra.evaluate(
        defended(after=labels), data="minigen", limit=24, trust="off",
        pipelines={"auto": [{"attack": "auto", "eps": "2/255", "queries": 50, "steps": 10, "restarts": 1}]},
    )  # fmt: skip
    assert any(
        "auto restores them" in notice.text or "scores inside" in notice.text for notice in run.notices
    )
    attacked = run.records[(run.records["pipeline"] == "auto") & run.records["attacked"]]
    assert (attacked["found_by"] != "").all()
    won_by = set(attacked.loc[~attacked["correct"], "found_by"])
    assert "apgd ce" in won_by
    assert won_by <= {
        "apgd ce",
        "apgd margin",
        "fab",
        "square",
        "apgd ce, close call",
        "apgd margin, close call",
    }
    assert (run.records.loc[run.records["pipeline"] == "clean", "found_by"] == "").all()
