"""Every attack of torchattacks, ART and adv-lib: works from a recipe alone, or does not for a stated reason."""

import importlib
import io
import json
import logging
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from benchmarks.library_attacks import (
    MODULES,
    OPTIONAL,
    RUN,
    LibraryAttack,
    attempt,
    exported,
    not_working,
    task,
    working,
)
from robustbench_aigen.attacks import libraries
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import DeployedDetector
from robustbench_aigen.errors import UserError

# A gradient of zero divides by zero in ART; torch tensors in NumPy calls warn in torchattacks.
pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [
    pytest.param(attack, norm, id=f"{attack.library}-{attack.name}-{norm}")
    for attack in working()
    for norm in attack.arguments
]
# These return the image itself where they do not succeed, or by definition.
MAY_RETURN_ALL_IMAGES = {"VANILA"}
BLACK_BOX = [
    pytest.param(attack, id=f"{attack.library}-{attack.name}")
    for attack in working()
    if attack.name in {"Square", "OnePixel", "HopSkipJump", "SimBA", "SquareAttack", "BoundaryAttack"}
]


@pytest.mark.sweep
@pytest.mark.parametrize(("attack", "norm"), CASES)
def test_a_class_that_is_said_to_work_works(attack, norm, tmp_path, monkeypatch):
    """Nothing around it changes (the survey checks), and images come back finite, in range and changed."""
    if not attack.is_installed:
        pytest.skip(f"{attack.needs} is not installed")
    monkeypatch.chdir(tmp_path)
    clean, result = attempt(attack, norm)
    assert not list(tmp_path.iterdir()), "it writes into the folder that it is run in"
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 1
    assert attack.name in MAY_RETURN_ALL_IMAGES or (result != clean).any()
    if not attack.minimum_norm and norm in {"linf", "l2"}:
        distance = (result - clean).flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
        assert (distance <= {"linf": 8 / 255, "l2": 1.0}[norm] + 1e-5).all()


@pytest.mark.parametrize(("library", "name", "reason"), not_working())
def test_a_class_that_is_said_not_to_work_does_not(library, name, reason, monkeypatch):
    """A recipe with it is refused for that reason; were it not, it would fail, so the reason is not out of date."""
    if library in OPTIONAL:
        pytest.importorskip(library)
    attack = LibraryAttack(library, name, {"linf": BEST_ARGUMENTS.get(name, {})})
    with pytest.raises(UserError) as refused:
        attempt(attack, "linf")
    assert str(refused.value) == f"{MODULES[library]} {name} cannot attack a detector: {reason}"
    monkeypatch.setattr(libraries, "reason_against", lambda *_: None)
    with pytest.raises(UserError, match=name):
        attempt(attack, "linf")


BEST_ARGUMENTS = {
    "apgd_targeted": {"eps": "$eps", "norm": 2},
    "APGDT": {"eps": "$eps", "steps": 2, "n_classes": 2},
    # So small that an image holds out against its first attack.
    "AutoAttack": {"eps": 1e-6},
    "FeatureAdversariesNumpy": {"delta": "$eps", "layer": 0},
    "FeatureAdversariesPyTorch": {"delta": "$eps", "max_iter": 2, "step_size": 0.01},
    "GRAPHITEBlackbox": {"noise_size": [32, 32], "net_size": [32, 32]},
    "GRAPHITEWhiteboxPyTorch": {"net_size": [32, 32]},
    "LowProFool": {"n_steps": 2},
    "ThresholdAttack": {"th": 8, "es": 0, "max_iter": 1},
}


def test_every_exported_class_is_listed_once():
    there = [library for library in MODULES if library not in OPTIONAL or find_spec(library)]
    declared = [
        (attack.library, attack.name)
        for attack in working()
        if attack.is_installed or (attack.library in there and attack.name in exported(attack.library))
    ]
    declared += [(library, name) for library, name, _ in not_working()]
    assert len(declared) == len(set(declared))
    assert {each for each in declared if each[0] in there} == {
        (library, name) for library in there for name in exported(library)
    }


def images_seen_by(detector: nn.Module) -> list[int]:
    """Batch sizes that pass through a detector from now on."""
    seen: list[int] = []
    detector.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    return seen


def black_box_task(attack, **changes):
    recipe = attack.recipe(next(iter(attack.arguments)))
    made = task(replace(attack, images=4), recipe.norms[0], recipe, **changes)
    run, call = RUN[attack.library], getattr(recipe.backends, attack.library)[recipe.norms[0]]
    return made, lambda some: run(some, call, recipe=recipe)


@pytest.mark.parametrize("attack", BLACK_BOX)
def test_queries_of_a_black_box_attack_are_each_images_own(attack):
    made, run = black_box_task(attack)
    # A wrapper, so that the detector that all tests share keeps no hook.
    counted = nn.Sequential(made.detector.detector)
    seen = images_seen_by(counted)
    for chunk in run(replace(made, source_model=DeployedDetector(counted))):
        assert len(chunk.rows) == 1
        assert chunk.queries.tolist() == [sum(seen)]
        assert sum(seen) > 0
        seen.clear()


@pytest.mark.parametrize("attack", BLACK_BOX)
def test_a_black_box_attack_does_not_depend_on_the_batch(attack):
    made, run = black_box_task(attack)
    whole = {int(chunk.rows): chunk for chunk in run(made)}
    alone = replace(
        made,
        levels=made.levels[2:3],
        labels=made.labels[2:3],
        streams=made.streams.select([2]),
        batch_size=1,
    )
    (chunk,) = run(alone)
    assert torch.equal(chunk.pixels, whole[2].pixels)
    assert torch.equal(chunk.queries, whole[2].queries)


@pytest.mark.parametrize("name", ["BoundaryAttack", "HopSkipJump"])
def test_decision_based_attacks_have_a_start_for_both_classes(name):
    """ART looks for one in noise, to which this detector gives one verdict; half of the images came back as they were."""
    attack = next(attack for attack in working() if attack.name == name)
    attack = replace(attack, images=8, minimum_norm=False)
    _, result = attempt(attack, "l2")
    made = task(attack, "l2", attack.recipe("l2"))
    noise = torch.rand(50, *result.shape[1:], generator=torch.Generator().manual_seed(0))
    assert len(made.detector(noise).argmax(dim=1).unique()) == 1
    assert set(made.labels.tolist()) == {0, 1}
    assert (made.detector(result).argmax(dim=1) != made.labels).all()


class Failing(nn.Module):
    """A detector that raises, going forward or coming back."""

    def __init__(self, network: nn.Module, error: Exception, *, backward: bool) -> None:
        super().__init__()
        self.network, self.error, self.backward = network, error, backward

    def forward(self, pixels):
        if not self.backward:
            raise self.error
        logits = self.network(pixels)
        if logits.requires_grad:
            logits.register_hook(self.fail)
        return logits

    def fail(self, gradient):
        raise self.error


def failing_run(attack, error, *, backward):
    made, run = black_box_task(attack)
    return run(
        replace(
            made, source_model=DeployedDetector(Failing(made.detector.detector, error, backward=backward))
        )
    )


PLAIN = [attack for attack in working() if attack.name in {"PGD", "ProjectedGradientDescentPyTorch"}]


@pytest.mark.parametrize("attack", PLAIN, ids=lambda attack: attack.library)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: out of memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_memory_that_runs_out_passes_unchanged(attack, error, backward):
    with pytest.raises(type(error)) as raised:
        list(failing_run(attack, error, backward=backward))
    assert raised.value is error


@pytest.mark.parametrize("attack", PLAIN, ids=lambda attack: attack.library)
def test_an_error_of_the_detector_passes_unchanged(attack):
    error = KeyError("a layer")
    with pytest.raises(KeyError) as raised:
        list(failing_run(attack, error, backward=False))
    assert raised.value is error


@pytest.mark.parametrize(
    ("library", "name", "arguments", "message"),
    [
        (
            "torchattacks",
            "APGD",
            {"loss": "dlr"},
            "torchattacks APGD failed on images of 32×32 pixels: IndexError",
        ),
        ("torchattacks", "PGD", {"epsilon": 1}, "PGD does not take these arguments"),
        ("art", "ProjectedGradientDescentPyTorch", {"eps": -1}, "does not take these arguments"),
        (
            "torchattacks",
            "VNIFGSM",
            {"targeted": "$eps", "steps": "x"},
            "torchattacks VNIFGSM failed on images of 32×32 pixels: TypeError",
        ),
    ],
)
def test_a_failing_class_is_named_in_one_line(library, name, arguments, message):
    with pytest.raises(UserError, match=message) as raised:
        attempt(LibraryAttack(library, name, {"linf": arguments}), "linf")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("attack", PLAIN, ids=lambda attack: attack.library)
def test_targeted_aims_at_the_wrong_class(attack):
    targeted = replace(attack, arguments={"linf": {**attack.arguments["linf"], "targeted": True}}, quick={})
    made = task(attack, "linf", attack.recipe("linf"))
    for one in (attack, targeted):
        _, result = attempt(one, "linf")
        assert (made.detector(result).argmax(dim=1) != made.labels).float().mean() > 0.5


def test_seeded_classes_draw_anew_for_every_image():
    """torchattacks' Square seeds itself with 0 each time: two equal images would get equal squares."""
    attack = next(attack for attack in working() if attack.name == "Square")
    made, run = black_box_task(attack)
    # A budget so large that every start fools the detector, and comes back.
    large = {"threat": ThreatModel("linf", 0.5), "params": {**made.params, "eps": 0.5}}
    twins = replace(
        made, levels=made.levels[:1].repeat(4, 1, 1, 1), labels=made.labels[:1].repeat(4), **large
    )
    results = torch.cat([chunk.pixels for chunk in run(twins)])
    assert (results != results[0]).flatten(1).any(dim=1).sum() == 3


def test_processes_that_start_together_read_a_whole_configuration_of_art(tmp_path, monkeypatch):
    """ART writes it in place: two test workers on a new machine, or the jobs of an array, read half of it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(libraries, "import_module", lambda _: (tmp_path / ".art" / "config.json").read_text())
    expected = json.dumps({"ART_DATA_PATH": str(tmp_path / ".art" / "data")}, indent=4)
    assert libraries.library_module("art") == expected
    (tmp_path / ".art" / "config.json").write_text("{}")
    assert libraries.library_module("art") == "{}"


def test_importing_art_closes_no_handler_of_others(monkeypatch):
    """Of absl, which Keras brings, that would close what was standard error when its handler was made."""
    import art

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.close = stream.close
    monkeypatch.setattr(logging.getLogger("another library"), "handlers", [handler])
    monkeypatch.setattr(libraries, "import_module", lambda _: importlib.reload(art))
    libraries.library_module("art")
    assert not stream.closed
    importlib.reload(art)
    assert stream.closed
