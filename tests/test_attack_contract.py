"""What the shared verifier lets through, from every backend, and what it stops."""

from importlib.util import find_spec

import pytest
import torch
from test_native_attacks import float_result, held_by, pictures, poised, silent, stage, task, untrained

from robustbench_aigen.attacks import execution
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.task import AttackChunk
from robustbench_aigen.attacks.verification import AttackContractError
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage

CASES = [
    (name, norm, backend)
    for name, recipe in shipped_recipes().items()
    if recipe.kind == "attack"
    for backend in recipe.backends.names()
    for norm in recipe.norms
    if recipe.backends.has(backend, norm) and (backend not in ("adv_lib", "foolbox") or find_spec(backend))
]
# The adapters of the libraries are tested on the attacks that go their ways; the sweep has all.
LIKE_THE_OTHERS = {"pgd", "fgsm", "deepfool", "square", "jsma", "fab", "rotation_translation"}


def by_effort(cases, quick):
    """Cases of the native engine and the quick cases of libraries; the others belong to the sweep."""
    return [
        pytest.param(*case, marks=() if case[2] == "native" or quick(case) else pytest.mark.sweep)
        for case in cases
    ]


# Other than by default, so that a test takes seconds.
EFFORT: dict[str, dict[str, object]] = {
    "boundary": {"steps": 20},
    "cw": {"steps": 20, "searches": 2, "learning_rate": 0.03},
    "hopskipjump": {"steps": 4, "evaluations": 30},
    "spsa": {"steps": 10, "samples": 16},
    "square": {"steps": 200},
    "simba": {"steps": 400, "step_size": 0.5},
}
# Still less where nothing has to come of it: queries of a gradient, channel values.
QUICK: dict[str, dict[str, object]] = {
    "hopskipjump": {"evaluations": 10},
    "jsma": {"share": 0.02},
    "zoo": {"coordinates": 16},
}
# What moves away from the detector's own output goes either way from the boundary itself.
WITHOUT_LABELS = {"tpgd"}
# One image and thousands of queries at a time: what they can do is measured by python -m benchmarks.library_attacks.
SLOW = {"boundary", "onepixel", "pixle", "zoo"}
OBJECTIVES = ("both", "fake_to_real", "real_to_fake")
EPS = {
    "linf": [0.5 / 255, 1 / 255, 8 / 255],
    "l2": [0.25, 1.0],
    "l1": [0.002, 2.0],
    "l0": [1, 5],
    "spatial": [None],
}
STRONG = {"linf": 8 / 255, "l2": 1.5, "l1": 40.0, "l0": 200, "spatial": None}
WIDE = {("simba", "l2"): 5.0, ("simba", "linf"): 0.9}


def bound_stage(attack, norm, backend, eps, **given):
    budget = {} if norm == "spatial" else {"eps": eps}
    recipe = shipped_recipes()[attack]
    surrogate = DetectorSpec(id="minigen/lenet5") if recipe.needs_surrogate else None
    return make_stage(recipe, {"norm": norm, "backend": backend, **budget, **given}, surrogate=surrogate)


def taken(given: dict[str, object], attack: str, norm: str, backend: str) -> dict[str, object]:
    """What of it a backend reads; the rest is refused."""
    call = shipped_recipes()[attack].backends.call(backend, norm)
    return {name: value for name, value in given.items() if call is None or name in call.parameters}


def quick(attack: str, norm: str, backend: str = "native") -> dict[str, object]:
    """A handful of steps, where an attack has steps."""
    few = {"steps": 5, "queries": 5, "searches": 2}
    known = shipped_recipes()[attack].parameters
    given = (
        EFFORT.get(attack, {})
        | QUICK.get(attack, {})
        | {name: max(value, int(known[name].minimum or 0)) for name, value in few.items() if name in known}
    )
    return taken(given, attack, norm, backend)


def distance(norm: str, levels: torch.Tensor, adversarial: torch.Tensor) -> torch.Tensor:
    difference = (adversarial.double() - levels.double()) / 255
    if norm == "linf":
        return difference.flatten(1).abs().amax(dim=1)
    if norm == "l2":
        return difference.flatten(1).norm(dim=1)
    if norm == "l1":
        return difference.flatten(1).abs().sum(dim=1)
    return (difference != 0).any(dim=1).flatten(1).sum(dim=1).double()


@pytest.mark.parametrize(
    ("attack", "norm", "backend", "objective"),
    by_effort(
        [(*case, objective) for objective in OBJECTIVES for case in CASES],
        lambda case: case[3] == "both" and case[0] in LIKE_THE_OTHERS,
    ),
)
def test_every_attack_keeps_its_budget_on_8_bits(attack, norm, backend, objective):
    """Range, budget, 8 bits, counts, and (by the verifier) mode, flags, weights and global generators."""
    detector = untrained()
    labels = {
        "both": torch.arange(6) % 2,
        "fake_to_real": torch.ones(6).long(),
        "real_to_fake": torch.zeros(6).long(),
    }
    # Libraries are not told that they may stop.
    stops = (True, False) if backend == "native" else (False,)
    # Every budget with both classes, and one with each alone.
    for eps in EPS[norm] if objective == "both" else EPS[norm][-1:]:
        for early_stop in stops:
            bound = bound_stage(attack, norm, backend, eps, **quick(attack, norm, backend))
            levels = pictures(6)
            made = task(
                detector, bound, levels=levels, labels=labels[objective], early_stop=early_stop, batch_size=4
            )
            outcome = run_attack(bound, made, silent)
            assert outcome.levels.dtype == torch.uint8
            if norm != "spatial":
                assert (distance(norm, levels, outcome.levels) <= eps * (1 + 1e-6)).all()
            assert torch.allclose(outcome.linf.double(), distance("linf", levels, outcome.levels), atol=1e-6)
            assert torch.allclose(outcome.l2.double(), distance("l2", levels, outcome.levels), atol=1e-5)
            assert (outcome.queries > 0).all()


@pytest.mark.parametrize(
    ("attack", "norm", "backend"),
    by_effort(
        [case for case in CASES if case[0] not in WITHOUT_LABELS | SLOW],
        lambda case: case[0] in {"pgd", "fgsm", "square"} and case[1] == "linf",
    ),
)
def test_an_attack_with_a_budget_turns_verdicts(attack, norm, backend):
    """Labels are all right before, with scores on both sides of the threshold; few are right after."""
    detector = untrained()
    levels, (labels, threshold) = pictures(), poised(detector)
    if backend != "native" and shipped_recipes()[attack].access != "gradients":
        # One image at a time: fewer of them, of both classes.
        levels, labels = levels[::3], labels[::3]
        assert set(labels.tolist()) == {0, 1}
    eps = WIDE.get((attack, norm), STRONG[norm])
    bound = bound_stage(attack, norm, backend, eps, **taken(EFFORT.get(attack, {}), attack, norm, backend))
    made = task(detector, bound, levels=levels, labels=labels, threshold=threshold)
    outcome = run_attack(bound, made, silent)
    assert (held_by(detector, outcome.levels, threshold) == labels).float().mean() < 0.35


@pytest.mark.parametrize(
    ("attack", "norm", "backend"), by_effort(CASES, lambda case: case[0] in LIKE_THE_OTHERS)
)
def test_an_attack_repeats_itself(attack, norm, backend):
    bound = bound_stage(attack, norm, backend, EPS[norm][-1], **quick(attack, norm, backend))
    made = task(untrained(), bound, levels=pictures(6), batch_size=4, early_stop=True)
    first, second = run_attack(bound, made, silent), run_attack(bound, made, silent)
    assert torch.equal(first.levels, second.levels)
    assert torch.equal(first.queries, second.queries)


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


@pytest.mark.parametrize("attack", ["square", "pgd", "auto"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 12), (7, 3)])
def test_images_of_a_few_pixels_are_attacked_in_both_norms(attack, height, width):
    levels = torch.randint(0, 256, (4, 3, height, width), generator=torch.Generator().manual_seed(5)).byte()
    for norm, eps in (("linf", 8 / 255), ("l2", 0.5)):
        bound = stage(attack, norm=norm, eps=eps, **quick(attack, norm))
        outcome = run_attack(bound, task(untrained(), bound, levels=levels), silent)
        assert (distance(norm, levels, outcome.levels) <= eps * (1 + 1e-6)).all()
        assert (outcome.levels != levels).any()


def test_a_class_that_starts_again_by_itself_is_not_started_again():
    queries = []
    for restarts in (1, 2, 4):
        bound = stage("fab", backend="torchattacks", eps=1e-9, steps=3, restarts=restarts)
        made = task(untrained(), bound, levels=pictures(6), early_stop=True)
        queries.append(float(run_attack(bound, made, silent).queries.float().mean()))
    assert queries[2] - queries[1] == pytest.approx(2 * (queries[1] - queries[0]), rel=0.3)


def test_images_that_finish_one_by_one_are_judged_together(monkeypatch):
    bound = stage("pgd", eps=4 / 255)
    made = task(untrained(), bound, levels=pictures(11), batch_size=4)

    def one_by_one(stage, made):
        for row in torch.arange(11).split(1):
            pixels, count = made.pixels(row), row.clone()
            # Every other image comes with its log-odds, as one that is fooled does.
            yield AttackChunk(row, pixels, count, count, made.log_odds(row, pixels) if row % 2 else None)

    told, sizes = [], []
    judge = execution.judge
    monkeypatch.setattr(execution, "_chunks", one_by_one)
    monkeypatch.setattr(execution, "judge", lambda *given: sizes.append(len(given[-1].rows)) or judge(*given))
    outcome = run_attack(bound, made, told.append)
    assert sorted(sizes) == [1, 2, 4, 4]
    assert told == [1] * 11
    assert torch.equal(outcome.steps, torch.arange(11))
    assert torch.equal(outcome.levels, made.levels)
    assert torch.allclose(outcome.log_odds, made.log_odds_of_levels(torch.arange(11), made.levels), atol=1e-5)
