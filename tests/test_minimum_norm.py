"""Minimum-norm attacks through optional libraries, and the distances that they measure."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from robustbench_aigen import attacks, evaluate, load_detector
from robustbench_aigen.attacks import libraries
from robustbench_aigen.attacks.execution import make_task, threat_of
from robustbench_aigen.attacks.shortening import shortened
from robustbench_aigen.attacks.threat_model import ThreatModel, level_distance
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe import AttackRecipe
from robustbench_aigen.stages.recipe_files import shipped_recipes

pytestmark = pytest.mark.filterwarnings("ignore")
WIDE = {"linf": 32 / 255, "l2": 4.0, "l1": 60.0, "l0": 300}
CASES = [
    (recipe.name, backend, norm)
    for recipe in shipped_recipes().values()
    if isinstance(recipe, AttackRecipe) and recipe.minimum_norm
    for backend in ("adv_lib", "foolbox")
    for norm in recipe.norms
    if recipe.backends.has(backend, norm)
]


@pytest.fixture(scope="module")
def detector():
    return load_detector("minigen/lenet5")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eight images of minigen, 32×32."""
    selection = select(open_source("minigen", tmp_path_factory.mktemp("data")), "test", 8)
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    return levels, torch.tensor([sample.label for sample in selection.samples])


@pytest.mark.parametrize(("name", "backend", "norm"), CASES)
def test_a_library_finds_small_perturbations_and_their_length_is_recorded(
    name, backend, norm, detector, images
):
    pytest.importorskip(backend)
    levels, labels = images
    result = getattr(attacks, name)(norm=norm, eps=WIDE[norm], backend=backend, steps=30)(
        detector, levels, labels
    )
    length = level_distance(norm, levels, (result.images * 255).round().to(torch.uint8))
    assert result.success.float().mean() >= 0.5
    assert torch.equal(result.distance[result.success], length[result.success])
    assert result.distance[~result.success].isinf().all()
    assert (length <= WIDE[norm] * (1 + 1e-6)).all()
    # Less than the budget: the attack looks for the smallest.
    assert result.distance[result.success].median() < WIDE[norm] / 2


def test_without_the_library_the_line_to_type_is_told(monkeypatch):
    if find_spec("adv_lib") is not None:
        monkeypatch.setitem(
            libraries._LIBRARIES, "adv_lib", libraries._Library("adv_lib_not_here", "pip install X")
        )
    with pytest.raises(UserError, match="the backend adv_lib cannot be imported") as refused:
        libraries.library_module("adv_lib")
    assert "pip install" in str(refused.value.hint)


def test_an_argument_that_adv_lib_does_not_take_is_refused(detector, images, tmp_path):
    pytest.importorskip("adv_lib")
    file = tmp_path / "mine.yaml"
    file.write_text(
        "kind: attack\nname: mine\nsummary: s\nnorms: [l2]\nparams:\n  eps: {kind: pixels, default: 0.5}\n"
        "backends:\n  adv_lib:\n    l2: {class: ddn, args: {stepz: 3}}\n",
        encoding="utf-8",
    )
    with pytest.raises(UserError, match="stepz"):
        attacks.create(str(file))(detector, *images)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_a_success_is_shortened_and_stays_a_success(norm, detector, images):
    """From a change far beyond the boundary, the bisection comes much nearer, and the verdict stays wrong."""
    levels, labels = images
    stage = attacks.create("fab" if norm != "l0" else "jsma", norm=norm, eps=WIDE[norm])
    task = make_task(
        stage, detector, levels, labels, SampleStreams(0, tuple(map(str, range(8))), 0), threshold=HALF,
        early_stop=False, batch_size=8, device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    # Images of the other class are certainly judged otherwise.
    far = levels.flip(0)
    odds = task.log_odds_of_levels(torch.arange(8), far)
    rows = task.is_fooled(torch.arange(8), odds).nonzero().flatten()
    assert len(rows) >= 4
    found = shortened(task, rows, far[rows].float() / 255, far[rows], odds[rows])
    before, after = (level_distance(norm, levels[rows], each) for each in (far[rows], found.levels))
    assert (after <= before).all()
    assert (after < before).float().mean() > 0.5
    assert task.is_fooled(rows, task.log_odds_of_levels(rows, found.levels)).all()
    assert torch.allclose(task.log_odds_of_levels(rows, found.levels), found.log_odds, atol=1e-4)
    assert (found.queries > 0).all()


def test_records_have_the_smallest_change_of_every_image(detector):
    """Zero where the verdict is wrong at once, infinite where nothing was found, the 8-bit length elsewhere."""
    limit = 2 / 255
    run = evaluate(
        detector,
        "minigen",
        {"fab": attacks.fab(eps=limit, steps=10), "pgd": attacks.pgd(eps=limit)},
        limit=40,
    )
    records = run.records.set_index("pipeline")
    assert records.loc[["clean", "pgd"], ["distance", "distance_limit"]].isna().all(axis=None)
    fab = records.loc["fab"]
    assert np.allclose(fab["distance_limit"], limit)
    expected = np.where(fab["correct"], math.inf, np.where(fab["correct_clean"], fab["linf"], 0))
    assert np.array_equal(fab["distance"], expected.astype(np.float32))
    assert 0 < np.isfinite(fab["distance"]).mean() < 1 or np.isfinite(fab["distance"]).all()


def test_a_budget_of_positions_is_a_whole_number():
    with pytest.raises(UserError, match="whole number of pixel positions"):
        attacks.fmn(norm="l0", eps=2.5)


def test_threat_of_l1_is_a_sum(images):
    levels, _ = images
    moved = levels.clone()
    moved[:, 0, 0, 0] = (levels[:, 0, 0, 0].int() - 7).abs().to(torch.uint8)
    changed = (moved.int() - levels.int()).abs().flatten(1).sum(dim=1) / 255
    assert torch.allclose(level_distance("l1", levels, moved), changed)
    stage = attacks.apgd(norm="l1", eps=3)
    assert threat_of(stage) == ThreatModel("l1", 3.0)
    assert threat_of(stage).reach == 765
