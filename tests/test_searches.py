"""What the native searches compute, against their papers, other implementations and closed forms."""

from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchattacks
from scipy.optimize import LinearConstraint, linprog, minimize
from test_native_attacks import (
    COUNT,
    float_result,
    held_by,
    pictures,
    poised,
    silent,
    stage,
    task,
    untrained,
)
from torch import nn
from torchvision.models import resnet18

from robustbench_aigen import load_detector
from robustbench_aigen.attacks import execution
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.native import ensemble, foresight
from robustbench_aigen.attacks.native.apgd import checkpoints
from robustbench_aigen.attacks.native.fab import to_plane
from robustbench_aigen.attacks.native.square_schedule import share_at
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector, Preprocessing
from robustbench_aigen.detectors.folding import Affine, fold_batch_norms_forwards
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.detectors.rewriting import UnshuffledConvolution, rewritten_modules
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_pixels

# APGD


def test_checkpoints_are_the_papers():
    """Croce and Hein 2020 (AutoAttack), section 3.2, and by exact arithmetic for other numbers of steps."""
    assert [mark for mark in checkpoints(100) if mark <= 100] == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (5, 10, 20, 50, 77, 200, 1000):
        shares = [Fraction(0), Fraction(22, 100)]
        while len(shares) < 9:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - Fraction(3, 100), Fraction(6, 100)))
        expected = [ceil(share * steps) for share in shares[1:]]
        assert [mark for mark in checkpoints(steps) if mark <= steps] == expected


@pytest.mark.parametrize(("norm", "eps"), [("linf", 2 / 255), ("l2", 0.5)])
def test_apgd_reaches_the_losses_of_torchattacks(norm, eps):
    detector = untrained()
    labels = detector(to_pixels(pictures())).argmax(dim=1)
    made = task(detector, stage("apgd", norm=norm, eps=eps, steps=25), labels=labels)
    ours = float_result(stage("apgd", norm=norm, eps=eps, steps=25), made)
    reference = torchattacks.APGD(
        made.detector, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, steps=25, loss="ce"
    )
    torch.manual_seed(0)
    theirs = reference.attack_single_run(to_pixels(pictures()), labels)[0]

    def loss(pixels):
        with torch.no_grad():
            return nn.functional.cross_entropy(detector(pixels), labels, reduction="none")

    clean = loss(to_pixels(pictures()))
    gained, reached = (loss(theirs) - clean).mean(), (loss(ours) - clean).mean()
    assert gained > 0
    assert reached >= 0.99 * gained


# Projections


def planes(count: int, size: int, seed: int):
    rng = np.random.default_rng(seed)
    pixels = rng.random((count, size))
    pixels[0], pixels[1, : size // 2] = 0.0, 1.0
    slope = rng.normal(size=(count, size))
    slope[2, 0] = 0.0
    reach = np.where(slope > 0, 1 - pixels, pixels) * np.abs(slope)
    # Some planes the box does not hold.
    offset = reach.sum(axis=1) * rng.uniform(0.05, 1.15, count)
    return pixels, slope, offset


@pytest.mark.parametrize("size", [3, 12])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_nearest_point_of_a_plane_is_the_linear_programs(size, sign):
    pixels, slope, offset = planes(25, size, size)
    slope, offset = sign * slope, sign * offset
    found = as_planes("linf", pixels, slope, offset)
    for x, w, b, change in zip(pixels, slope, offset, found, strict=True):
        # Variables: the change, and its largest absolute value.
        bound = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
        box = [*zip(-x, 1 - x, strict=True), (0, None)]
        best = linprog(
            [0.0] * size + [1.0], A_ub=bound, b_ub=np.zeros(2 * size), A_eq=[[*w, 0.0]], b_eq=[b], bounds=box
        )
        check_plane(x, w, b, change, best.x[:size] if best.success else None, np.inf)


@pytest.mark.parametrize("size", [3, 12])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_nearest_point_of_a_plane_is_the_quadratic_programs(size, sign):
    pixels, slope, offset = planes(25, size, 10 + size)
    slope, offset = sign * slope, sign * offset
    found = as_planes("l2", pixels, slope, offset)
    for x, w, b, change in zip(pixels, slope, offset, found, strict=True):
        inside = abs(b) <= (np.where(w * b > 0, 1 - x, x) * np.abs(w)).sum()
        best = minimize(
            lambda d: d @ d / 2, np.clip(change, -x, 1 - x), jac=lambda d: d, method="SLSQP",
            bounds=list(zip(-x, 1 - x, strict=True)), constraints=[LinearConstraint(w, b, b)],
            options={"ftol": 1e-12},
        )  # fmt: skip
        check_plane(x, w, b, change, best.x if inside else None, 2)


def as_planes(norm, pixels, slope, offset) -> np.ndarray:
    def shaped(values):
        return torch.from_numpy(values).float().view(len(values), -1, 1, 1)

    found = to_plane(ThreatModel(norm, 1.0), shaped(pixels), shaped(slope), torch.from_numpy(offset).float())
    return found.flatten(1).double().numpy()


def check_plane(x, w, b, change, best, order) -> None:
    assert (x + change >= -1e-6).all()
    assert (x + change <= 1 + 1e-6).all()
    if best is None:
        # Out of reach: every value goes as far as it can.
        reach = (np.where(w * b > 0, 1 - x, x) * np.abs(w)).sum()
        assert abs(w @ change) == pytest.approx(reach, rel=1e-4)
        return
    assert w @ change == pytest.approx(b, abs=1e-4)
    assert np.linalg.norm(change, order) == pytest.approx(np.linalg.norm(best, order), abs=2e-4)


# Minimum-norm attacks on a plane


class Linear(nn.Module):
    def __init__(self, offset: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(0)))
        self.offset = offset

    def forward(self, x):
        z = x.flatten(1) @ self.weight - self.offset
        return torch.stack([-z, z], dim=1)


def linear(levels: torch.Tensor) -> tuple[Detector, torch.Tensor, torch.Tensor]:
    """A linear detector, the labels that it gives, and the images' margins (twice the plane's function)."""
    network = Linear(0.0)
    network.offset = float((to_pixels(levels).flatten(1) @ network.weight.detach()).median())
    detector = Detector.assembled(
        network, Preprocessing(), name="linear", architecture="none", weights_sha256="0"
    )
    with torch.no_grad():
        logits = detector(to_pixels(levels))
    return detector, logits.argmax(dim=1), logits.diff(dim=1).flatten().abs()


def middling(count: int) -> torch.Tensor:
    """Images far enough from black and white that no step is clipped."""
    return (pictures(count, side=8) // 4 + 96).to(torch.uint8)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_on_a_linear_detector_is_the_closed_form(norm):
    levels = middling(16)
    detector, labels, margin = linear(levels)
    bound = stage("deepfool", norm=norm, eps=0.9, overshoot=0.02)
    found = float_result(bound, task(detector, bound, levels=levels, labels=labels))
    weight = detector.network.weight.detach()
    side = (1 - 2 * labels).view(-1, 1)
    if norm == "l2":
        step = (margin / (2 * weight.square().sum())).view(-1, 1) * weight
    else:
        step = (margin / (2 * weight.abs().sum())).view(-1, 1) * weight.sign()
    expected = to_pixels(levels) + (1.02 * side * step).view(-1, 3, 8, 8)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("attack", "longer"), [("cw", 1.1), ("fab", 1.03)])
def test_minimum_norm_searches_on_a_linear_detector_are_hardly_longer_than_the_closed_form(attack, longer):
    levels = middling(16)
    detector, labels, margin = linear(levels)
    # The closest images are fractions of a level away: Adam's steps are longer than that.
    given = {"steps": 100, "searches": 6, "learning_rate": 0.002} if attack == "cw" else {"steps": 30}
    bound = stage(attack, norm="l2", eps=5.0, **given)
    found = float_result(bound, task(detector, bound, levels=levels, labels=labels))
    with torch.no_grad():
        assert (detector(found).argmax(dim=1) != labels).float().mean() >= 0.9
    length = (found - to_pixels(levels)).flatten(1).norm(dim=1)
    closest = margin / (2 * detector.network.weight.detach().norm())
    far = closest > closest.median()
    assert (length >= closest - 1e-5).float().mean() >= 0.9
    assert (length[far] <= longer * closest[far]).all()


# Black-box attacks


def test_the_share_of_a_square_is_halved_where_the_paper_says():
    """Andriushchenko et al. 2020, section 4: at 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 of 10,000 queries."""
    from torchattacks.attacks.square import Square as Reference

    for queries in (10_000, 1000, 300):
        reference = Reference(nn.Identity(), n_queries=queries, p_init=0.8)
        asked = torch.arange(1, queries)
        # Theirs truncates what stands for a query of 10,000.
        expected = [reference.p_selection(int(number)) for number in asked]
        ours = share_at(asked, queries, 0.8)
        same = torch.isclose(ours, torch.tensor(expected, dtype=ours.dtype))
        # Truncation of the scaled number moves a halving by one query.
        assert (~same).sum() <= 9
    marks = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    for passed, mark in enumerate(marks):
        shares = share_at(torch.tensor([mark, mark + 1]), 10_000, 0.8)
        assert torch.allclose(shares, 0.8 / 2.0 ** torch.tensor([passed, passed + 1]))


@pytest.mark.parametrize(("attack", "norm"), [("square", "linf"), ("simba", "l2"), ("simba", "linf")])
@pytest.mark.parametrize("early_stop", [True, False])
def test_queries_are_the_images_that_pass_through_the_detector(attack, norm, early_stop):
    """Counted by a hook on what the search queries, the verdicts aside."""
    detector = untrained()
    labels, threshold = poised(detector)
    eps = {"linf": 4 / 255, "l2": 1.0}[norm]
    bound = stage(attack, norm=norm, eps=eps, steps=25)
    made = task(detector, bound, labels=labels, threshold=threshold, early_stop=early_stop, batch_size=7)
    passed = []
    made.queried.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    steps = list(execution._chunks(bound, made))
    assert sum(int(chunk.queries.sum()) for chunk in steps) == sum(passed)
    if not early_stop:
        assert sum(passed) == 25 * COUNT


# Ensembles and foresight


def minigen_images(count: int) -> tuple[Detector, torch.Tensor, torch.Tensor]:
    """minigen/lenet5 and what it gets right of so many test images, with labels."""
    detector = load_detector("minigen/lenet5")
    chosen = select(open_source("minigen", Path()), "test", count)
    levels = torch.stack([decode(chosen.source.encoded(index)) for index in chosen.indices])
    labels = torch.tensor([sample.label for sample in chosen.samples])
    right = (predict(detector, levels, 64, torch.device("cpu")) >= 0).long() == labels
    return detector, levels[right], labels[right]


def test_a_widened_start_breaks_what_three_starts_inside_the_budget_leave():
    """On a trained detector: 300 images and two budgets."""
    detector, levels, labels = minigen_images(300)
    found = []
    for eps in (0.2, 0.25):
        plain = stage("apgd", norm="l2", eps=eps, steps=50, restarts=3)
        made = task(detector, plain, levels=levels, labels=labels, early_stop=True, batch_size=64)
        left = held_by(detector, run_attack(plain, made, silent).levels, 0.5) == labels
        widened = stage("apgd", norm="l2", eps=eps, steps=50, widened=3)
        made = task(
            detector, widened, levels=levels[left], labels=labels[left], early_stop=True, batch_size=64
        )
        outcome = run_attack(widened, made, silent)
        assert outcome.l2.max() <= eps * (1 + 1e-6)
        assert 51 <= outcome.steps.max() <= 76
        found.append((held_by(detector, outcome.levels, 0.5) != labels[left]).sum())
    assert sum(found) >= 1


def test_a_close_call_has_lost_two_thirds_of_its_margin():
    levels = middling(6)
    detector, labels, margins = linear(levels)
    bound = stage("auto", eps=1 / 255)
    made = task(detector, bound, levels=levels, labels=labels)
    rows = torch.arange(1, 6)  # The first is on the boundary.
    assert margins[rows].min() > 0.1
    assert ensemble._is_close(made, rows, -0.33 * margins[rows]).all()
    assert not ensemble._is_close(made, rows, -0.34 * margins[rows]).any()
    # Of a few rows, in any order, the same.
    some = torch.tensor([4, 1])
    assert ensemble._is_close(made, some, torch.stack([-0.3 * margins[4], -0.4 * margins[1]])).tolist() == [
        True,
        False,
    ]


def test_close_calls_are_tried_again_and_others_are_not(monkeypatch):
    """One step leaves images for the further starts; they are given those that came close."""
    seen = []
    attack = ensemble.run_attack

    def noted(stage, task, advance):
        seen.append((stage.params.get("widened"), stage.params["steps"], len(task.levels)))
        return attack(stage, task, advance)

    monkeypatch.setattr(ensemble, "run_attack", noted)
    detector, levels, labels = minigen_images(100)
    bound = stage("auto", eps=1 / 255, steps=1, queries=5, restarts=2, effort="exhaustive")
    outcome = run_attack(
        bound, task(detector, bound, levels=levels, labels=labels, early_stop=True, batch_size=64), silent
    )
    everywhere, again = seen[:4], seen[4:]
    assert [steps for _, steps, _ in everywhere] == [1, 1, 1, 5]
    assert [(widened, steps) for widened, steps, _ in again] == [(1, 2), (3, 2)]
    assert 0 < again[0][2] < everywhere[-1][2]
    held = held_by(detector, outcome.levels, 0.5) == labels
    assert held.sum() <= everywhere[-1][2]


def fooled_by(attack: str, **given) -> torch.Tensor:
    detector = untrained()
    labels, threshold = poised(detector)
    bound = stage(attack, **given)
    made = task(detector, bound, labels=labels, threshold=threshold, early_stop=True)
    return held_by(detector, run_attack(bound, made, silent).levels, threshold) != labels


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.5 / 255), ("linf", 1 / 255), ("l2", 0.08)])
def test_auto_fools_what_any_of_its_parts_fools(norm, eps):
    """At budgets that leave some images standing."""
    common = {"norm": norm, "eps": eps}
    # Square for L2 is a library's, one image at a time.
    queries = 50 if norm == "linf" else 5
    whole = fooled_by("auto", steps=10, queries=queries, effort="exhaustive", **common)
    parts = [
        fooled_by("apgd", steps=10, loss="ce", **common),
        fooled_by("apgd", steps=10, loss="margin", widened=3, **common),
        fooled_by("fab", steps=10, **common),
        fooled_by("square", steps=queries, **common),
    ]
    assert all(COUNT > whole.sum() >= part.sum() for part in parts)
    # The first part is run on all images with the same noise.
    assert not (parts[0] & ~whole).any()


@pytest.mark.parametrize("attack", ["pgd", "apgd", "mifgsm"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 1 / 255), ("l2", 0.15)])
def test_foresight_changes_how_fast_and_not_what(monkeypatch, attack, norm, eps):
    looked = []
    favour = foresight.Odds.favour_a_look

    def noted(self, reach):
        favoured = favour(self, reach)
        looked.append(int(favoured.sum()))
        return favoured

    monkeypatch.setattr(foresight.Odds, "favour_a_look", noted)
    # Looking ahead is another matter: it finds more.
    given = {} if attack == "apgd" else {"lookahead": False}
    with_it = fooled_by(attack, norm=norm, eps=eps, **given)
    assert sum(looked) > 0
    monkeypatch.setattr(
        foresight.Odds, "favour_a_look", lambda self, reach: torch.zeros_like(reach, dtype=torch.bool)
    )
    without = fooled_by(attack, norm=norm, eps=eps, **given)
    assert (with_it != without).sum() <= 1
    assert with_it.any()


@pytest.mark.parametrize(
    ("attack", "norm", "eps"),
    [("pgd", "linf", 1 / 255), ("pgd", "l2", 0.15), ("bim", "linf", 1 / 255), ("mifgsm", "linf", 1 / 255)],
)
def test_looking_ahead_loses_no_image_and_saves_steps(attack, norm, eps):
    """On a trained detector; what is found at the far end is inside the budget, as everything is.

    An image that the last step fools is not lost. One that a step on the way fools for a moment may be: whether
    it is looked at there depends on the looks before it. Image by image, every sum is of the same numbers.
    """
    detector, levels, labels = minigen_images(150)

    def attacked(rows: slice, batch_size: int, *, lookahead: bool, early_stop: bool = True):
        bound = stage(attack, norm=norm, eps=eps, lookahead=lookahead)
        made = task(
            detector,
            bound,
            levels=levels[rows],
            labels=labels[rows],
            early_stop=early_stop,
            batch_size=batch_size,
        )
        outcome = run_attack(bound, made, silent)
        assert getattr(outcome, norm).max() <= eps * (1 + 1e-6)
        return held_by(detector, outcome.levels, 0.5) != labels[rows], outcome.steps.float().mean()

    at_the_end, _ = attacked(slice(40), 1, lookahead=False, early_stop=False)
    ahead, _ = attacked(slice(40), 1, lookahead=True)
    assert 10 < at_the_end.sum() < 40
    assert not (at_the_end & ~ahead).any()
    (plain, steps), (_, fewer) = (attacked(slice(None), 32, lookahead=ahead) for ahead in (False, True))
    assert plain.sum() > 10
    assert fewer < 0.9 * steps


@pytest.mark.parametrize("attack", ["pgd", "bim", "mifgsm"])
def test_where_every_step_is_taken_nobody_looks_ahead(attack):
    detector, levels, labels = minigen_images(60)
    results = []
    for lookahead in (False, True):
        bound = stage(attack, eps=1 / 255, lookahead=lookahead)
        made = task(detector, bound, levels=levels, labels=labels, early_stop=False, batch_size=32)
        results.append(run_attack(bound, made, silent).levels)
    assert torch.equal(*results)


# Detectors made ready for gradients


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(7, 2, 3), (3, 2, 1), (3, 2, 0), (4, 4, 0), (16, 16, 0), (5, 3, 2), (2, 3, 0), (1, 2, 0), (7, 4, 2), ((3, 5), 2, (1, 2)),
     (3, 2, 5)],
)  # fmt: skip
@pytest.mark.parametrize("side", [(32, 32), (33, 47), (50, 35)])
@pytest.mark.parametrize("bias", [True, False])
def test_an_unshuffled_convolution_is_the_convolution(kernel, stride, padding, side, bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 8, kernel, stride=stride, padding=padding, bias=bias)
    assert UnshuffledConvolution.takes(plain)
    images = torch.randn(2, 3, *side, requires_grad=True)
    ours, theirs = UnshuffledConvolution(plain)(images), plain(images)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, atol=2e-5)
    weights = torch.randn_like(theirs)
    gradients = [torch.autograd.grad((out * weights).sum(), images)[0] for out in (ours, theirs)]
    assert torch.allclose(*gradients, atol=5e-5)
    with torch.no_grad():
        last = images.contiguous(memory_format=torch.channels_last)
        assert torch.allclose(UnshuffledConvolution(plain)(last), theirs, atol=2e-5)


@pytest.mark.parametrize(
    "given",
    [{"stride": 1}, {"stride": (2, 1)}, {"stride": 2, "dilation": 2}, {"stride": 2, "padding_mode": "reflect", "padding": 1},
     {"stride": 2, "groups": 3}],
)  # fmt: skip
def test_other_convolutions_are_left_as_they_are(given):
    assert not UnshuffledConvolution.takes(nn.Conv2d(3, 6, 3, **given))


def detector_of(network: nn.Module, size=(64, 64)) -> Detector:
    return Detector.assembled(
        network, Preprocessing(size, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)), name="x", architecture="x", weights_sha256="0"
    )  # fmt: skip


def trained_resnet() -> nn.Module:
    """A ResNet-18 whose batch norms have seen something."""
    torch.manual_seed(0)
    network = resnet18(num_classes=2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network


class Untraceable(nn.Module):
    """Control flow that depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.first(x))
        if x.sum() > 1e9:
            x = x * 2
        return self.last(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["lenet5", "cifake_cnn", "resnet18", "untraceable"])
def test_a_prepared_detector_is_the_same_function(name):
    if name == "resnet18":
        detector, sides = detector_of(trained_resnet()), [(64, 64), (50, 71)]
    elif name == "untraceable":
        detector, sides = detector_of(Untraceable()), [(64, 64), (50, 71)]
    else:
        detector, sides = untrained(name), [(32, 32), (40, 33)]
    prepared = prepare(detector, "fp32")
    modules = list(prepared.modules())
    if name == "resnet18":
        assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    if name in ("resnet18", "untraceable"):
        assert any(isinstance(module, UnshuffledConvolution) for module in modules)
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    for side in sides:
        pixels = torch.rand((3, 3, *side), generator=torch.Generator().manual_seed(1))
        assert (prepared(pixels) - detector(pixels)).abs().max() <= 1e-4
    # In float64 no round-off decides on which side of a ReLU, or which of a pool's values, a gradient goes through.
    for module in (
        detector,
        prepared,
        *(source for each in modules for source in getattr(each, "_sources", ())),
    ):
        module.double()
    for module in rewritten_modules(prepared):
        module.refresh()
    for side in sides:
        pixels = (
            torch.rand((3, 3, *side), generator=torch.Generator().manual_seed(1)).double().requires_grad_()
        )
        gradients = [
            torch.autograd.grad(each(pixels)[:, 1].sum(), pixels)[0] for each in (prepared, detector)
        ]
        assert (gradients[0] - gradients[1]).abs().max() <= 1e-6 * gradients[1].abs().max()


@pytest.mark.parametrize("name", ["lenet5", "cifake_cnn", "untraceable"])
def test_queries_are_answered_by_the_same_function(name):
    detector = detector_of(Untraceable()) if name == "untraceable" else untrained(name)
    queried = prepare(detector, "fp32")
    assert queried is not detector
    pixels = torch.rand((5, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (queried(pixels) - detector(pixels)).abs().max() <= 1e-4
    assert (
        not any(isinstance(module, nn.BatchNorm2d) for module in queried.modules()) or name == "untraceable"
    )


def test_depthwise_convolutions_stay_float32_in_reduced_precision():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    ]
    detector = detector_of(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval())
    prepared, types = prepare(detector, "bf16"), {}
    for module in prepared.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, _, out: types.setdefault(m.groups, set()).add(out.dtype))
    pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
    answer = prepared(pixels)
    assert types == {1: {torch.bfloat16}, 8: {torch.float32}}
    assert (answer - detector(pixels)).abs().max() < 0.02
    assert torch.autograd.grad(answer.sum(), pixels)[0].any()


def test_preparing_changes_nothing_of_the_detector():
    detector = detector_of(trained_resnet())
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    strides = detector.network.conv1.weight.stride()
    prepare(detector, "bf16")
    prepare(detector, "fp32")
    after = detector.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert detector.network.conv1.weight.stride() == strides


class Hidden(nn.Module):
    """A network that hides its input from autograd."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.detach())


@pytest.mark.parametrize("attack", ["pgd", "deepfool", "fab", "cw", "universal"])
def test_a_detector_without_gradients_is_no_error(attack):
    """An obfuscated detector is what trust flags and ``auto`` are for: another attack finds next to nothing."""
    detector = untrained()
    labels, threshold = poised(detector)
    detector.network = Hidden(detector.network)
    bound = stage(attack, eps=1 / 255 if attack != "cw" else 0.2, steps=3)
    outcome = run_attack(bound, task(detector, bound, labels=labels, threshold=threshold), silent)
    assert (held_by(detector, outcome.levels, threshold) == labels).float().mean() > 0.7


@pytest.mark.parametrize("positive", [True, False])
def test_a_batch_norm_after_a_relu_goes_into_the_layer_after_it(positive):
    """Zero padding cuts the shift off at the edges; max pooling lets only positive scales through."""
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 2),
    )
    for norm in (module for module in network if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.bias)
        nn.init.uniform_(norm.weight, 0.5, 2)
        if not positive:
            norm.weight.data[0] *= -1
    network.eval().requires_grad_(False)
    folded = fold_batch_norms_forwards(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    absorbed = [module.is_absorbed for module in folded.modules() if isinstance(module, Affine)]
    assert absorbed == [True, positive]
    pixels = torch.rand(4, 3, 16, 16)
    assert torch.allclose(folded(pixels), network(pixels), atol=1e-4)
