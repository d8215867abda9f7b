"""Detectors that hide their gradients are caught, each by the probe that is there for it; ordinary ones pass."""

import json
from functools import partial
from math import comb

import pytest
import torch
from PIL import Image
from test_engine import scenario as scenario_without_checks
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.engine import experiment
from robustbench_aigen.engine.sizes import padded
from robustbench_aigen.evaluation import run
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.codecs import jpeg
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import Stage, make_stage
from robustbench_aigen.trust.check import CHECKS, Checks
from robustbench_aigen.trust.checks.gradients import (
    UnboundedAttackFails,
    ZeroGradients,
    unbounded_attack,
    zero_gradients,
)
from robustbench_aigen.trust.checks.second_attacks import black_box, more_steps
from robustbench_aigen.trust.probe_images import ProbeImages
from robustbench_aigen.trust.sequential import (
    SecondAttack,
    fewest_survivors,
    judge_second,
    sequential,
    survivors_to_probe,
    takes_off_clearly,
)

scenario = partial(scenario_without_checks, trust="quick")


class FrontEnd(nn.Module):
    """A network behind a transformation of its input; both see pixels in [0, 1]."""

    def __init__(self, detector: Detector, transformation) -> None:
        super().__init__()
        self.inner, self.transformation = detector, transformation

    def forward(self, pixels):
        return self.inner(self.transformation(pixels))


def rounded_to_4_bits(pixels):
    return (pixels * 15).round() / 15


def behind_4_bits(normalised):
    """The same of an input in [-1, 1]."""
    return 2 * rounded_to_4_bits((normalised + 1) / 2) - 1


def through_a_jpeg(pixels):
    return (
        to_pixels(jpeg(to_levels(pixels.detach()), quality=90, subsampling="4:2:0", repeats=1)) + 0 * pixels
    )


class Noise:
    """Draws from a generator of its own: attacks may not touch the global one."""

    def __init__(self, sigma: float) -> None:
        self.generator, self.sigma = torch.Generator().manual_seed(0), sigma

    def __call__(self, pixels):
        return pixels + self.sigma * torch.randn(pixels.shape, generator=self.generator)


class Louder(nn.Module):
    def __init__(self, detector: Detector, times: float) -> None:
        super().__init__()
        self.inner, self.times = detector, times

    def forward(self, pixels):
        return self.times * self.inner(pixels)


class Decoy(nn.Module):
    """Logits without a gradient, plus faint ones of an untrained network, which have all of it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.decoy = detector, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))

    def forward(self, pixels):
        return self.inner(pixels).detach() + 1e-4 * self.decoy(pixels)


class Detached(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.inner = detector

    def forward(self, pixels):
        return self.inner(pixels.detach())


@pytest.fixture(scope="module")
def lenet5() -> Detector:
    return load_detector("minigen/lenet5")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    chosen = select(open_source("minigen", tmp_path_factory.mktemp("none")), "test", 100)
    levels = torch.stack([decode(chosen.source.encoded(index)) for index in chosen.indices])
    return levels, torch.tensor([s.label for s in chosen.samples]), [s.id for s in chosen.samples]


def right(detector: nn.Module, pictures, count: int = 32, threshold: float = 0.5) -> ProbeImages:
    """Some of the pictures that a detector gets right."""
    levels, labels, names = pictures
    deployed = DeployedDetector(detector, Threshold.at(threshold))
    rows = (deployed(to_pixels(levels)).argmax(dim=1) == labels).nonzero().flatten()[:count]
    streams = SampleStreams(42, tuple(names[row] for row in rows), 0)
    return ProbeImages(deployed, levels[rows], labels[rows], streams, 128, torch.device("cpu"), "fp32")


def flags(detector: nn.Module, pictures) -> set[str]:
    images = right(detector, pictures)
    parts = {each.name: each.detector for each in Checks().on("detector")}
    return {name for name, part in parts.items() if part.judge(part.probe(images)).raised}


@pytest.mark.parametrize("name", shipped_detectors())
def test_an_ordinary_detector_has_nothing_against_it(pictures, name):
    assert flags(load_detector(name), pictures) == set()


def test_quantised_input_has_no_gradients(lenet5, pictures):
    found = flags(FrontEnd(lenet5, rounded_to_4_bits), pictures)
    assert found == {"zero_gradients", "uninformative_gradients", "unbounded_attack_fails"}


def test_a_front_end_that_cannot_be_differentiated_has_no_gradients(lenet5, pictures):
    found = flags(FrontEnd(lenet5, through_a_jpeg), pictures)
    assert found == {"zero_gradients", "uninformative_gradients", "unbounded_attack_fails"}


def test_a_detector_that_is_cut_off_from_autograd_has_no_gradients(lenet5, pictures):
    images = right(Detached(lenet5), pictures)
    assert zero_gradients(images.input_gradients.gradients).all()


def test_loud_logits_are_saturated_and_that_is_all(lenet5, pictures):
    assert flags(Louder(lenet5, 1e4), pictures) == {"saturated_logits"}
    assert flags(Louder(lenet5, 2), pictures) == set()


def test_a_gradient_that_is_there_and_says_nothing_is_not_taken_for_one(lenet5, pictures):
    found = flags(Decoy(lenet5), pictures)
    assert "zero_gradients" not in found
    assert "uninformative_gradients" in found


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torch.zeros_like, 4),
        (lambda g: g.index_fill(0, torch.tensor([1]), 0), 1),
        (lambda g: g.index_fill(0, torch.tensor([2]), torch.nan), 1),
        (lambda g: g.index_fill(0, torch.tensor([2]), torch.inf), 1),
        (lambda g: torch.cat([g[:3], g[3:].flatten().index_fill(0, torch.arange(1, 192), 0).view(1, 3, 8, 8)]), 1),
        (lambda g: nn.functional.pad(g[..., 4:5, 4:5], (4, 3, 4, 3)), 0),  # what a crop leaves out
        (lambda g: g * 1e-30, 0),
    ],
)  # fmt: skip
def test_zero_is_no_gradient_or_none_to_speak_of(make, expected):
    gradients = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert int(zero_gradients(make(gradients)).sum()) == expected


def stage(name: str, **given) -> Stage:
    recipe = shipped_recipes()[name]
    return make_stage(recipe, given)


def cell_flags(detector: nn.Module, pictures, bound: Stage, *, quick: bool, count: int = 24) -> set[str]:
    """Flags of an attack on a detector, with images that withstood it as a run would pick them."""
    images = right(detector, pictures, count)
    survives = images.held(bound)
    held, most = float(survives.float().mean()), survivors_to_probe(int(survives.sum()), len(survives))
    if not most:
        return set()
    test = sequential(held, 0, most) if quick else SecondAttack(held, (most,))
    found = set()
    for flag, attack in (
        ("loss_still_rising", more_steps(bound, quick=quick)),
        ("black_box_beats_white_box", black_box(bound, quick=quick)),
    ):
        withstood: list[bool] = []
        for look in test.looks:
            rows = survives.nonzero().flatten()[len(withstood) : look]
            survivors = ProbeImages(
                images.detector,
                images.levels[rows],
                images.labels[rows],
                images.streams.select(rows.tolist()),
                128,
                images.device,
                "fp32",
            )
            withstood += survivors.held(attack).tolist()
            if test.is_clear(withstood.count(False), len(withstood)):
                break
        measured = judge_second("", withstood.count(False), len(withstood), test)
        found |= {flag} if measured.raised else set()
    return found


QUICK = pytest.mark.parametrize("quick", [True, False])
ORDINARY = {"minigen/lenet5", "minigen/cifake_cnn", "cifake/lenet5"}


@QUICK
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ORDINARY else pytest.mark.sweep) for name in shipped_detectors()],
)
def test_pgd_on_an_ordinary_detector_has_nothing_against_it(pictures, name, quick):
    detector = load_detector(name)
    for eps in (1 / 255, 4 / 255):
        assert cell_flags(detector, pictures, stage("pgd", eps=eps), quick=quick, count=16) == set()


@QUICK
@pytest.mark.parametrize(
    "masked", [lambda d: FrontEnd(d, rounded_to_4_bits), lambda d: FrontEnd(d, through_a_jpeg), Decoy]
)
@pytest.mark.parametrize(
    "name", ["minigen/lenet5", pytest.param("minigen/cifake_cnn", marks=pytest.mark.sweep)]
)
def test_a_black_box_attack_sees_through_masked_gradients(pictures, name, masked, quick):
    detector = masked(load_detector(name))
    assert "black_box_beats_white_box" in cell_flags(
        detector, pictures, stage("pgd", eps=8 / 255), quick=quick
    )


@QUICK
def test_an_attack_that_was_stopped_too_soon_is_not_converged(lenet5, pictures, quick):
    hasty = stage("pgd", eps=4 / 255, steps=3, step_size=0.3 / 255, random_start=False, lookahead=False)
    assert "loss_still_rising" in cell_flags(lenet5, pictures, hasty, quick=quick)


def test_without_steps_there_are_no_more_of_them():
    assert more_steps(stage("fgsm"), quick=False) is None


def test_more_steps_of_several_attacks_are_those_of_the_first_where_quick():
    auto = stage("auto", eps=1 / 255, steps=20)
    quick, full = (more_steps(auto, quick=quick) for quick in (True, False))
    assert (quick.recipe.name, quick.params["loss"], quick.params["steps"]) == ("apgd", "ce", 100)
    assert (full.recipe.name, full.params["steps"]) == ("auto", 100)


def test_probes_of_an_l2_attack_keep_its_norm():
    bound = black_box(stage("pgd", norm="l2", eps=0.25), quick=True)
    assert (bound.params["norm"], bound.params["eps"]) == ("l2", 0.25)


def test_an_attack_with_a_black_box_of_its_own_needs_no_other():
    assert black_box(stage("auto", eps=1 / 255), quick=False) is None
    assert black_box(stage("auto", eps=1 / 255, queries=100), quick=False) is not None


def chance_of_a_flag(test: SecondAttack, share: float) -> float:
    """Exactly, over all outcomes: each survivor falls by itself with the probability ``share``."""
    left, asked, flagged = {0: 1.0}, 0, 0.0
    for look in test.looks:
        more = look - asked
        spread: dict[int, float] = {}
        for fallen, weight in left.items():
            for further in range(more + 1):
                chance = comb(more, further) * share**further * (1 - share) ** (more - further)
                spread[fallen + further] = spread.get(fallen + further, 0.0) + weight * chance
        asked = look
        flagged += sum(weight for fallen, weight in spread.items() if test.is_flagged(fallen, asked))
        left = {fallen: weight for fallen, weight in spread.items() if not test.is_clear(fallen, asked)}
    assert not left
    return flagged


@pytest.mark.parametrize("held", [1.0, 0.7, 0.4, 0.2])
@pytest.mark.parametrize("first", [0, 8, 20])
def test_the_error_rates_of_quick_looks_are_those_that_are_told(held, first):
    most = survivors_to_probe(round(1000 * held), 1000)
    quick, full = sequential(held, first, most), SecondAttack(held, (most,))
    assert chance_of_a_flag(full, full.may_fall) < 0.01
    assert chance_of_a_flag(quick, quick.may_fall) < 0.01
    # Few survivors tell little, in looks or at once.
    found = chance_of_a_flag(full, full.must_be_found)
    assert chance_of_a_flag(quick, quick.must_be_found) > found - 0.05
    assert found > 0.94 or held < 0.5


def test_looks_begin_with_as_few_as_can_be_clear_and_double():
    assert sequential(1.0, 0, 32).looks == (5, 10, 20, 32)
    assert sequential(1.0, 12, 32).looks == (12, 24, 32)
    assert sequential(1.0, 100, 32).looks == (32,)
    test = sequential(1.0, 0, 32)
    assert test.is_clear(0, 5)
    assert not test.is_flagged(0, 5)
    assert not test.is_clear(1, 5)
    assert test.is_flagged(4, 5)
    for held in (1.0, 0.5, 0.1):
        few = fewest_survivors(held)
        assert SecondAttack(held, (100,)).is_clear(0, few)
        assert not SecondAttack(held, (100,)).is_clear(0, few - 1)


@pytest.mark.parametrize(
    ("fallen", "count", "held", "flagged"),
    [(0, 32, 1.0, False), (5, 32, 1.0, False), (6, 32, 1.0, True), (2, 15, 0.44, False), (8, 8, 0.2, True),
     (8, 8, 0.04, False)],
)  # fmt: skip
def test_five_points_have_to_be_gone_and_not_by_chance(fallen, count, held, flagged):
    assert takes_off_clearly(fallen, count, held) == flagged


def test_nothing_is_attacked_again_where_nothing_could_come_of_it():
    assert survivors_to_probe(0, 100) == 0
    assert survivors_to_probe(3, 100) == 0
    assert survivors_to_probe(1, 1) == 0
    assert survivors_to_probe(100, 100) == 32


@pytest.fixture
def masked_run(monkeypatch):
    """Every detector is loaded with an input of 4 bits."""
    whole = experiment.load_detector

    def load(spec, **keys):
        detector = whole(spec, **keys)
        detector.network = FrontEnd(detector.network, behind_4_bits)
        detector.weights_sha256 += " behind 4 bits"
        return detector

    monkeypatch.setattr(experiment, "load_detector", load)


def test_a_run_prints_what_it_found_and_finds_it_again(tmp_path, masked_run, monkeypatch):
    pipelines = "{pgd: [{attack: pgd, eps: [4/255, 8/255]}], jpeg: [{perturb: jpeg}]}"
    file = scenario(tmp_path, pipelines, data="{source: minigen, split: test, limit: 40}")
    first = run(file, output=tmp_path / "out")
    overall = first.summary[first.summary["generator"] == "all"].set_index("pipeline")["trust"]
    assert overall["clean"] == overall["jpeg"] == "ok"
    for name in ("pgd[eps=4/255]", "pgd[eps=8/255]"):
        assert overall[name].split()[:2] == ["zero_gradients", "uninformative_gradients"]
    assert "black_box_beats_white_box" in overall["pgd[eps=8/255]"]
    report = (first.folder / "report.md").read_text()
    assert "- `zero_gradients`: " in report
    assert "probe images have a gradient of zero or not finite." in report
    info = json.loads((first.folder / "run.json").read_text())
    assert {flag["flag"] for flag in info["trust"]["flags"]} == set(" ".join(overall[1:3]).split())
    assert any(not probe["raised"] for probe in info["trust"]["probes"])
    for name in ("logits", "held", "answer"):
        monkeypatch.setattr(ProbeImages, name, None)
    second = run(file, output=tmp_path / "out")
    assert second.info.trust == first.info.trust


def test_a_flag_of_a_weak_attack_is_not_raised_where_the_attack_fooled_every_image(tmp_path, monkeypatch):
    whole = experiment.load_detector

    def loud(spec, **keys):
        detector = whole(spec, **keys)
        detector.network = Louder(detector.network, 1e4)
        detector.weights_sha256 += " louder"
        return detector

    monkeypatch.setattr(experiment, "load_detector", loud)
    file = scenario(
        tmp_path, "{pgd: [{attack: pgd, eps: [0.01/255, 32/255]}]}",
        data="{source: minigen, split: test, limit: 20}", trust="quick",
    )  # fmt: skip
    done = run(file, output=tmp_path / "out")
    overall = done.summary[done.summary["generator"] == "all"].set_index("pipeline")
    small, large = (name for name in overall.index if name.startswith("pgd"))
    assert overall.loc[small, "accuracy"] > 0
    assert overall.loc[large, "accuracy"] == 0
    assert "saturated_logits" in overall.loc[small, "trust"]
    assert "saturated_logits" not in overall.loc[large, "trust"]
    (probe,) = [each for each in done.info.trust.probes if each["flag"] == "saturated_logits"]
    assert probe["raised"]
    assert list(probe["pipelines"]) == [small]


def test_without_trust_checks_the_cells_say_so(tmp_path, cli):
    pipelines = "{pgd: [{attack: pgd, eps: [1/255, 4/255]}], jpeg: [{perturb: jpeg}]}"
    file = scenario(tmp_path, pipelines, data="{source: minigen, split: test, limit: 20}", trust="off")
    off = run(file, output=tmp_path / "out")
    overall = off.summary[off.summary["generator"] == "all"].set_index("pipeline")["trust"]
    assert overall["clean"] == overall["jpeg"] == "ok"
    assert overall["pgd[eps=1/255]"] == overall["pgd[eps=4/255]"] == "unchecked"
    report = (off.folder / "report.md").read_text()
    assert "Not checked:" in report
    assert "trust: off" in report
    outcome = cli("run", file, "--trust", "quick", "--output", tmp_path / "out")
    assert outcome.code == 0
    assert "unchecked" not in outcome.out
    assert "(trust checks: quick, " in outcome.out
    outcome = cli("run", file, "--trust", "some", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "trust: must be 'quick', 'full' or 'off', not 'some'" in outcome.err


def test_quick_checks_try_one_eps_and_name_the_others(tmp_path, weights):
    keys = {
        "data": "{source: minigen, split: test, limit: 40}",
        "detectors": f"[{{path: {weights}, arch: lenet5}}]",
    }
    pipelines = "{pgd: [{attack: pgd, eps: [1/255, 2/255, 3/255], steps: 2}]}"
    for mode, checked, left in (
        ("quick", {"pgd[eps=3/255]"}, {"pgd[eps=1/255]", "pgd[eps=2/255]"}),
        ("full", {"pgd[eps=1/255]", "pgd[eps=3/255]"}, {"pgd[eps=2/255]"}),
    ):
        result = run(scenario(tmp_path, pipelines, **keys, trust=mode), output=tmp_path / "out")
        of_cells = [each for each in result.info.trust.probes if each["flag"] == "loss_still_rising"]
        assert {name for each in of_cells for name in each["pipelines"]} == checked
        (unchecked,) = result.info.trust.unchecked
        assert set(unchecked.pipelines) == left
        assert "checked at " in unchecked.reason


def test_what_fell_to_an_attack_of_the_run_is_not_attacked_without_bounds(tmp_path, monkeypatch):
    asked: list[int] = []
    whole = UnboundedAttackFails.probe
    monkeypatch.setattr(
        UnboundedAttackFails, "probe", lambda check, images: asked.append(len(images)) or whole(check, images)
    )
    file = scenario(
        tmp_path, "{pgd: [{attack: pgd, eps: 16/255}]}", data="{source: minigen, split: test, limit: 20}"
    )
    result = run(file, output=tmp_path / "out")
    assert set(result.summary["trust"]) == {"ok"}
    (probe,) = [each for each in result.info.trust.probes if each["flag"] == "unbounded_attack_fails"]
    assert "leave 0 % of 8 probe images (8 of them fell to an attack of the run)" in probe["evidence"]
    assert asked == []


def test_without_a_gradient_attack_only_the_same_answer_is_asked_for(tmp_path):
    pipelines = "{jpeg: [{perturb: jpeg}], square: [{attack: square, steps: 3}]}"
    file = scenario(tmp_path, pipelines, data="{source: minigen, split: test, limit: 20}")
    trust = run(file, output=tmp_path / "out").info.trust
    assert trust.flags == ()
    assert {probe["flag"] for probe in trust.probes} == {"stochastic_output", "depends_on_batch"}
    assert all(probe["pipelines"] == ["clean", "jpeg", "square"] for probe in trust.probes)


def test_a_single_gradient_that_is_not_finite_is_a_flag():
    part = CHECKS["zero_gradients"].detector
    assert not part.judge(torch.tensor([1] + [0] * 31)).raised  # A dead unit.
    assert part.judge(torch.tensor([2] + [0] * 31)).raised
    assert part.judge(torch.tensor([1] * 4 + [0] * 28)).raised


@pytest.mark.parametrize("network", [lambda n: n, lambda n: FrontEnd(n, behind_4_bits)])
def test_images_of_several_sizes_are_probed_together_as_they_are_one_by_one(lenet5, pictures, network):
    """Padding changes no answer, and counts for none."""
    levels, labels, names = pictures
    crops = [image[:, : 24 + row % 9, : 32 - row % 7] for row, image in enumerate(levels[:10])]
    detector = lenet5.read_as()
    detector.network = network(lenet5.network)

    def among(rows: list[int]) -> ProbeImages:
        stack, sizes = padded([crops[row] for row in rows])
        streams = SampleStreams(42, tuple(names[row] for row in rows), 0)
        return ProbeImages(
            DeployedDetector(detector),
            stack,
            labels[rows],
            streams,
            7,
            torch.device("cpu"),
            "fp32",
            sizes,
        )

    together = among(list(range(10)))
    assert together.sizes is not None
    attacks = (unbounded_attack(), stage("pgd", eps=2 / 255), stage("square", eps=2 / 255, steps=50))
    probes = {each.name: each.detector.probe for each in Checks().on("detector")}
    probes |= {str(attack.to_dict()): lambda images, own=attack: images.held(own) for attack in attacks}
    for name, probe in probes.items():
        answers, alone = probe(together), torch.cat([probe(among([row])) for row in range(10)])
        if answers.is_floating_point():
            torch.testing.assert_close(answers, alone, rtol=1e-4, atol=1e-4)
        else:
            assert torch.equal(answers, alone), name


def test_a_folder_of_many_sizes_is_probed_in_few_batches(tmp_path, monkeypatch):
    """Not in batches of one, although hardly two images have one size."""
    chosen = select(open_source("minigen", tmp_path), "test", 40)
    for row, index in enumerate(chosen.indices):
        folder = tmp_path / "mixed" / ("fake" if chosen.samples[row].label else "real")
        folder.mkdir(parents=True, exist_ok=True)
        image = decode(chosen.source.encoded(index))[:, : 28 + row % 5, : 28 + row // 5 % 5]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{row}.png")
    probed = []
    whole = ZeroGradients.probe
    monkeypatch.setattr(
        ZeroGradients, "probe", lambda check, images: probed.append(images) or whole(check, images)
    )
    file = scenario(tmp_path, "{pgd: [{attack: pgd}]}", data=f"{{source: {tmp_path / 'mixed'}, split: all}}")
    result = run(file, output=tmp_path / "out")
    assert result.info.trust.probes
    assert sum(len(images) for images in probed) > 10 * len(probed)


def test_scores_of_the_probes_are_those_of_the_run(lenet5, pictures):
    """At a threshold other than one half an image that is held is one that the threshold holds."""
    images = right(lenet5, pictures, 32, threshold=0.3)
    score = lenet5(to_pixels(images.levels)).softmax(dim=1)[:, 1]
    assert torch.equal((score >= 0.3).long(), images.labels)
    assert (images.margins(images.levels) >= 0).all()
