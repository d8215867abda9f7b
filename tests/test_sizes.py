"""Mixed sizes in one batch: every image is attacked as if it were alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_attack_contract import bound_stage
from test_native_attacks import float_result, silent, stage, task, untrained

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.detectors.contract import Detector, Preprocessing, log_odds
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.engine.sizes import attack_groups, nearby_sizes, padded, same_size
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage

SIDES = [(32, 32), (40, 33), (33, 40), (36, 36), (40, 40), (32, 32), (34, 38), (40, 33)]
LABELS = torch.arange(len(SIDES)) % 2


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(0, 256, (3, *side), generator=generator).to(torch.uint8) for side in SIDES]


def together(detector, bound, **given):
    stack, sizes = padded(images())
    return task(detector, bound, levels=stack, labels=LABELS, sizes=sizes, **given)


def alone(made, row: int):
    """The task of one image at its own size, with the streams that it has among the others."""
    image = images()[row][None]
    one = made.restricted(torch.tensor([row]), made.params, made.first_try)
    return replace(one, levels=image, sizes=None)


def threshold_between(detector) -> float:
    """A threshold that is in the middle of the clean scores, so that attacks on both sides succeed and fail."""
    scores = torch.cat([detector(image[None].float() / 255).softmax(dim=1)[:, 1] for image in images()])
    return float(scores.median()) + 1e-5


NATIVE = [
    (name, norm)
    for name, recipe in shipped_recipes().items()
    if recipe.kind == "attack" and not recipe.same_size
    for norm in recipe.norms
    if recipe.backends.has("native", norm)
]
FEW = {"steps": 6, "queries": 20, "searches": 2}


@pytest.mark.parametrize(("attack", "norm"), NATIVE)
@pytest.mark.parametrize("early_stop", [True, False])
def test_an_image_among_others_is_attacked_as_it_is_alone(attack, norm, early_stop):
    detector = untrained()
    eps = {"linf": 2 / 255, "l2": 0.4, "l1": 8.0, "spatial": None}[norm]
    taken = shipped_recipes()[attack].parameters
    bound = bound_stage(attack, norm, "native", eps, **{k: v for k, v in FEW.items() if k in taken})
    made = together(
        detector, bound, threshold=threshold_between(detector), early_stop=early_stop, batch_size=5
    )
    mixed, floats = run_attack(bound, made, silent), float_result(bound, made)
    for row, (height, width) in enumerate(SIDES):
        single = run_attack(bound, alone(made, row), silent)
        own = mixed.levels[row, :, :height, :width]
        # A float32 sum that decides about the last bit of a gradient may move a value by a level or a few.
        strayed = (own.int() - single.levels[0].int()).abs()
        if (attack, norm) == ("square", "l2"):
            # Bumps put equal values into many pixels: which of them L2 rounding shortens, the last bit decides.
            single_float = float_result(bound, alone(made, row))[0]
            assert (floats[row, :, :height, :width] - single_float).abs().max() <= 1e-6
            assert strayed.max() <= 1
        else:
            assert (strayed > 0).float().mean() <= 0.01
        assert abs(float(mixed.log_odds[row] - single.log_odds[0])) <= 2e-4
        assert mixed.correct_float[row] == single.correct_float[0]
        assert abs(float(mixed.l2[row] - single.l2[0])) <= 0.02
        outside = mixed.levels[row].clone()
        outside[:, :height, :width] = 0
        assert not outside.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_those_of_images_of_one_size(norm):
    """One step too small to matter: what comes back is the start."""
    bound = stage("pgd", norm=norm, eps=8 / 255, steps=1, step_size=1e-9)
    made = together(untrained(), bound)
    starts = float_result(bound, made)
    for row, (height, width) in enumerate(SIDES):
        start = float_result(bound, alone(made, row))[0]
        assert (starts[row, :, :height, :width] - start).abs().max() <= 1e-7
        assert (start - images()[row] / 255).abs().max() > 1e-5


def test_a_score_does_not_see_the_padding():
    detector = untrained()
    made = together(detector, stage("fgsm"))
    dirty = made.levels.clone()
    for row, (height, width) in enumerate(SIDES):
        dirty[row, :, height:] = 255
        dirty[row, :, :, width:] = 255
    rows = torch.arange(len(SIDES))
    assert torch.equal(made.log_odds_of_levels(rows, dirty), made.log_odds_of_levels(rows, made.levels))
    own = [log_odds(detector(image[None].float() / 255))[0] for image in images()]
    assert torch.allclose(made.log_odds_of_levels(rows, made.levels), torch.stack(own), atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_padding_takes_at_most_half_as_much_again(seed):
    rng = np.random.default_rng(seed)
    sides = rng.integers(20, 400, (200, 2)) if seed % 2 else rng.normal(224, 25, (200, 2)).astype(int)
    levels = [torch.empty((3, int(h), int(w)), dtype=torch.uint8) for h, w in sides]
    rows = [row for row in range(200) if row % 7]
    groups = nearby_sizes(levels, rows)
    assert sorted(row for group in groups for row in group) == rows
    for group in groups:
        heights, widths = zip(*(levels[row].shape[1:] for row in group), strict=True)
        place = max(heights) * max(widths)
        assert all(place <= 1.5 * levels[row].shape[1] * levels[row].shape[2] for row in group)
    if not seed % 2:
        # Photographs of about one size fill their batches.
        assert len(groups) <= len(same_size(levels, rows)) / 8


def test_one_size_is_one_group():
    levels = [torch.empty((3, 32, 48), dtype=torch.uint8)] * 300
    assert nearby_sizes(levels, range(300)) == [list(range(300))]
    stack, sizes = padded(levels)
    assert stack.shape == (300, 3, 32, 48)
    assert sizes is None


def grouped(detector: Detector, bound, surrogate: Detector | None = None) -> list[list[int]]:
    return attack_groups((bound,), detector, surrogate, images(), range(len(SIDES)))


def test_sizes_are_mixed_for_native_attacks_on_a_detector_with_an_input_size_alone():
    fixed = untrained()
    anysize = Detector.assembled(
        build_architecture("lenet5"), Preprocessing(), name="any", architecture="lenet5", weights_sha256="0"
    )
    jpeg = shipped_recipes()["jpeg"]
    through = replace(stage("pgd"), through=(make_stage(jpeg, {}),))
    assert len(grouped(fixed, stage("pgd"))) < len(set(SIDES))
    one_size_each = [
        grouped(anysize, stage("pgd")),
        grouped(fixed, stage("pgd"), anysize),
        grouped(fixed, stage("pgd", backend="torchattacks")),
        grouped(fixed, stage("universal")),
        grouped(fixed, through),
    ]
    for groups in one_size_each:
        assert len(groups) == len(set(SIDES))
        assert all(len({SIDES[row] for row in group}) == 1 for group in groups)
