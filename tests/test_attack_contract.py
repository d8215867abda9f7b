"""What the shared verifier lets through, from every backend, and what it stops."""

import pytest
import torch
from test_native_attacks import float_result, held_by, pictures, poised, silent, stage, task, untrained

from robustbench_aigen.attacks import execution
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.task import AttackChunk
from robustbench_aigen.attacks.verification import AttackContractError
from robustbench_aigen.scenario.recipes import shipped_recipes

# Temporary: recipes whose threat model or minimum-norm step is not there yet. Delete with its use below.
PENDING = {"boundary", "eaden", "eadl1", "hopskipjump", "jsma", "onepixel", "pixle", "zoo"}
CASES = [
    (name, norm, backend)
    for name, recipe in shipped_recipes().items()
    if recipe.kind == "attack" and name not in PENDING
    for backend in recipe.backends.names()
    for norm in (recipe.norms if backend == "native" else getattr(recipe.backends, backend))
]
# Other than by default, so that a test takes seconds.
EFFORT: dict[str, dict[str, object]] = {
    "boundary": {"steps": 20},
    "hopskipjump": {"steps": 5},
    "spsa": {"steps": 10, "samples": 16},
    "square": {"steps": 200},
}
# What moves away from the detector's own output goes either way from the boundary itself.
WITHOUT_LABELS = {"tpgd"}
EPS = {"linf": [0.5 / 255, 1 / 255, 8 / 255], "l2": [0.25, 1.0]}


def quick(attack: str) -> dict[str, object]:
    """A handful of steps, where an attack has steps."""
    return {**EFFORT.get(attack, {}), "steps": 5} if "steps" in shipped_recipes()[attack].parameters else {}


@pytest.mark.parametrize(("attack", "norm", "backend"), CASES)
@pytest.mark.parametrize("early_stop", [True, False])
def test_every_attack_keeps_its_budget_on_8_bits(attack, norm, backend, early_stop):
    detector = untrained()
    for eps in EPS[norm]:
        bound = stage(attack, norm=norm, eps=eps, backend=backend, **quick(attack))
        levels = pictures(6)
        outcome = run_attack(
            bound, task(detector, bound, levels=levels, early_stop=early_stop, batch_size=4), silent
        )
        difference = (outcome.levels.double() - levels.double()).flatten(1) / 255
        length = difference.abs().amax(dim=1) if norm == "linf" else difference.norm(dim=1)
        assert (length <= eps * (1 + 1e-6)).all()
        assert torch.allclose(getattr(outcome, norm).double(), length, atol=1e-6)
        assert (outcome.queries > 0).all()


@pytest.mark.parametrize(
    ("attack", "norm", "backend"), [case for case in CASES if case[0] not in WITHOUT_LABELS]
)
def test_an_attack_with_a_budget_turns_verdicts(attack, norm, backend):
    """Labels are all right before, with scores on both sides of the threshold; few are right after."""
    detector = untrained()
    labels, threshold = poised(detector)
    bound = stage(
        attack, norm=norm, eps={"linf": 8 / 255, "l2": 1.5}[norm], backend=backend, **EFFORT.get(attack, {})
    )
    outcome = run_attack(bound, task(detector, bound, labels=labels, threshold=threshold), silent)
    assert (held_by(detector, outcome.levels, threshold) == labels).float().mean() < 0.3


@pytest.mark.parametrize("backend", ["native", "torchattacks", "art"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_the_same_for_every_backend_and_batch_size(backend, norm):
    """One step too small to matter: what comes back is the start."""
    detector = untrained()
    results = []
    for batch_size in (1, 7, 40):
        # Steps of ART are its own float32 arithmetic: compared on the float result.
        bound = stage("pgd", norm=norm, eps=8 / 255, steps=1, step_size=1e-9, backend=backend)
        made = task(detector, bound, batch_size=batch_size)
        results.append(float_result(bound, made))
    native = stage("pgd", norm=norm, eps=8 / 255, steps=1, step_size=1e-9)
    reference = float_result(native, task(detector, native))
    for result in results:
        assert torch.allclose(result, results[0], atol=5e-9)
        assert torch.allclose(result, reference, atol=1e-7)


def _broken(spoil):
    def attack(made):
        for rows in made.batches():
            pixels = spoil(made, made.pixels(rows))
            count = torch.ones(len(rows), dtype=torch.long)
            yield AttackChunk(rows, pixels, count, count)

    return attack


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda made, pixels: pixels + 0.05, "budget"),
        (lambda made, pixels: pixels - 2 / 255, "outside"),
        (lambda made, pixels: pixels * float("nan"), "NaN"),
        (lambda made, pixels: pixels[:, :, :-1], "shape"),
        (lambda made, pixels: made.detector.train() and pixels, "mode"),
        (lambda made, pixels: made.detector.requires_grad_() and pixels, "gradient flags"),
        (lambda made, pixels: [p.mul_(1) for p in made.detector.buffers()] and pixels, "buffers"),
        (lambda made, pixels: torch.rand(1) is not None and pixels, "generator"),
    ],
)
def test_the_verifier_stops_an_attack_that_breaks_its_contract(monkeypatch, spoil, complaint):
    bound = stage("pgd", eps=4 / 255)
    monkeypatch.setattr(execution, "_chunks", lambda stage, made: _broken(spoil)(made))
    levels = (
        pictures(4).clamp(0, 100)
        if complaint != "outside"
        else torch.zeros((4, 3, 32, 32), dtype=torch.uint8)
    )
    with pytest.raises(AttackContractError, match=complaint):
        run_attack(bound, task(untrained(), bound, levels=levels), silent)


def test_an_attack_that_forgets_an_image_is_stopped(monkeypatch):
    bound = stage("pgd", eps=4 / 255)
    whole = _broken(lambda made, pixels: pixels)
    monkeypatch.setattr(execution, "_chunks", lambda stage, made: list(whole(made))[1:])
    with pytest.raises(AttackContractError, match="twice or not at all"):
        run_attack(bound, task(untrained(), bound, batch_size=8), silent)


def test_libraries_cannot_put_the_detector_into_training_mode():
    detector = untrained("cifake_cnn")
    bound = stage("pgd", backend="torchattacks", steps=1)
    made = task(detector, bound, levels=pictures(4))
    run_attack(bound, made, silent)
    assert not any(module.training for module in made.detector.modules())
