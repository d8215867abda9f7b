"""Each flag is raised where it should be and not beside it."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_engine import scenario

from robustbench_aigen.evaluation import run
from robustbench_aigen.metrics.paired import mcnemar_p_value
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage, stage_from_dict
from robustbench_aigen.trust.attack_cells import AttackCell, clearly_lower, compare_cells
from robustbench_aigen.trust.check import Checks, flags
from robustbench_aigen.trust.checks.records import (
    below_chance,
    has_floored_eps,
    lost_to_rounding,
    nearly_one_class,
)
from robustbench_aigen.trust.flags import RaisedFlag
from robustbench_aigen.trust.records import CellRecords, add_trust, raised_by_records
from robustbench_aigen.trust.stored_quality import stored_quality


@pytest.mark.parametrize(
    ("share", "flagged"), [(1.0, True), (0.99, True), (0.9, False), (0.5, False), (0.01, True)]
)
def test_one_class_is_nearly_every_verdict(share, flagged):
    labels = np.array([0, 1] * 100)
    called_fake = np.arange(200) < round(200 * share)
    found = nearly_one_class(pd.DataFrame({"label": labels, "correct": called_fake == (labels == 1)}))
    assert (found is not None) == flagged


def test_one_class_needs_both_classes_to_be_there():
    assert nearly_one_class(pd.DataFrame({"label": [1] * 10, "correct": [True] * 10})) is None


@pytest.mark.parametrize(("lost", "flagged"), [(0, False), (1, False), (2, True), (50, True)])
def test_rounding_is_flagged_from_two_in_a_hundred_attacked_images(lost, flagged):
    attacked = pd.DataFrame(
        {"attacked": True, "correct": [True] * lost + [False] * (100 - lost), "correct_float": False}
    )
    spared = pd.DataFrame({"attacked": False, "correct": [True] * 900, "correct_float": True})
    cell = pd.concat([attacked, spared]).astype({"correct_float": "boolean"})
    found = lost_to_rounding(CellRecords(cell, spared, Pipeline("pgd", ())))
    assert (found is not None) == flagged


@pytest.mark.parametrize(
    ("norm", "eps", "flagged"),
    [("linf", 4 / 255, False), ("linf", 1.5 / 255, True), ("l2", 1.5 / 255, False)],
)
def test_a_budget_between_levels_is_flagged(norm, eps, flagged):
    stages = [{"perturb": "jpeg", "quality": 75}, {"attack": "pgd", "norm": norm, "eps": eps}]
    assert has_floored_eps([stage_from_dict(stage) for stage in stages]) == flagged


def verdicts(right: int, of: int = 200) -> pd.Series:
    """The first so many samples are right."""
    return pd.Series(np.arange(of) < right, index=[f"s{number}" for number in range(of)])


def cell(
    name: str, right: int, attack: str = "pgd", access: str = "gradients", before=(), **params
) -> AttackCell:
    last = {"attack": attack, "norm": "linf", "eps": 4 / 255, **params}
    return AttackCell(name, (*before, last), access, verdicts(right))


def raised(*cells: AttackCell) -> set[tuple[str, str]]:
    return {(flag.flag, flag.pipeline) for flag in compare_cells("d", cells, Checks())}


@pytest.mark.parametrize(("right", "other"), [(100, 100), (100, 95), (100, 92), (100, 90), (90, 100), (3, 0)])
def test_clearly_lower_is_mcnemar_on_one_side(right, other):
    before, after = verdicts(right), verdicts(other)
    two_sided = mcnemar_p_value(before.to_numpy(), after.to_numpy())
    assert clearly_lower(before, after) == (other < right and two_sided / 2 < 0.01)


def test_a_difference_below_a_point_is_none_however_certain():
    before, after = (pd.Series(np.arange(2000) < right) for right in (1000, 985))
    assert mcnemar_p_value(before.to_numpy(), after.to_numpy()) < 1e-3
    assert not clearly_lower(before, after)
    assert clearly_lower(before, pd.Series(np.arange(2000) < 980))


def test_only_images_that_both_have_are_compared():
    few = verdicts(100).iloc[:50]
    assert not clearly_lower(few, pd.Series(False, index=[f"other{n}" for n in range(200)]))
    assert clearly_lower(few, verdicts(0))


@pytest.mark.parametrize("access", ["scores", "decisions"])
def test_a_black_box_that_leaves_less_speaks_against_the_white_box(access):
    white = cell("pgd", 100)
    assert raised(white, cell("box", 50, "square", access)) == {("black_box_beats_white_box", "pgd")}
    assert raised(white, cell("box", 99, "square", access)) == set()
    assert raised(white, cell("box", 150, "square", access)) == set()
    for elsewhere in (
        {"eps": 8 / 255},
        {"norm": "l2"},
        {"through": "jpeg"},
        {"before": ({"perturb": "jpeg"},)},
    ):
        assert raised(white, cell("box", 50, "square", access, **elsewhere)) == set()
    assert raised(white, cell("apgd", 50, "apgd")) == set()


def test_transfer_that_leaves_less_speaks_against_the_direct_attack():
    direct, transfer = cell("pgd", 100), cell("transfer", 50, surrogate="minigen/lenet5")
    assert raised(direct, transfer) == {("transfer_beats_direct", "pgd")}
    assert raised(direct, cell("transfer", 120, surrogate="minigen/lenet5")) == set()
    # Neither is a transfer attack a white box, nor one that is weaker than a black box a sign of anything.
    assert raised(transfer, cell("box", 10, "square", "scores")) == set()


def test_a_larger_eps_may_not_leave_more():
    small, large = (
        cell("small", 50, eps=2 / 255, step_size=0.5),
        cell("large", 90, eps=8 / 255, step_size=2.0),
    )
    assert raised(small, large) == {("larger_eps_not_stronger", "large")}
    assert raised(small, cell("large", 51, eps=8 / 255)) == set()
    assert raised(small, cell("large", 10, eps=8 / 255)) == set()
    for other in ({"attack": "fgsm"}, {"norm": "l2"}, {"steps": 20}, {"before": ({"perturb": "blur"},)}):
        assert raised(small, cell("large", 90, **{"eps": 8 / 255, **other})) == set()


def test_each_flag_names_the_strongest_rival_once():
    cells = [cell("pgd", 150), cell("weak", 100, "square", "scores"), cell("strong", 20, "square", "scores")]
    (flag,) = compare_cells("d", cells, Checks())
    assert flag.evidence == "75.0 % of 200 images are left, 10.0 % by strong"


def encoded(format_: str = "JPEG", mode: str = "RGB", **options) -> bytes:
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, format_, **options)
    return buffer.getvalue()


def test_images_are_stored_at_the_quality_that_most_of_them_have():
    of_75, of_90, png = encoded(quality=75), encoded(quality=90), encoded("PNG")
    assert stored_quality([of_75, of_75, of_90]) == (75, 2, 3)
    assert stored_quality([of_75, of_90]) is None
    assert stored_quality([of_75, png, png]) is None
    assert stored_quality([png]) is None
    assert stored_quality([]) is None


def test_a_jpeg_at_the_datas_own_quality_is_flagged(tmp_path, image_folder, weights):
    for file in image_folder.rglob("*.png"):
        Image.open(file).save(file.with_suffix(".jpg"), quality=75)
        file.unlink()
    keys = {
        "data": f"{{source: {image_folder}, split: all}}",
        "detectors": f"[{{path: {weights}, arch: lenet5}}]",
    }
    pipelines = (
        "{up: [{perturb: jpeg, quality: [75, 80]}], then: [{perturb: jpeg}, {perturb: gaussian_blur}]}"
    )
    result = run(scenario(tmp_path, pipelines, **keys), output=tmp_path / "out")
    flagged = result.summary[result.summary["trust"].str.contains("jpeg_at_own_quality")]
    assert set(flagged["pipeline"]) == {"up[quality=75]"}
    sentence = "24 of 24 source images are stored at quality 75"
    assert sentence in (result.folder / "report.md").read_text()


def records(pipeline: str, right: int, *, attacked: bool = True) -> pd.DataFrame:
    count, labels = 200, np.arange(200) % 2
    return pd.DataFrame(
        {
            "detector": "d",
            "pipeline": pipeline,
            "sample": [f"s{number}" for number in range(count)],
            "label": labels,
            "attacked": attacked,
            "correct": np.arange(count) < right,
            "correct_float": pd.array(np.arange(count) < right, dtype="boolean"),
        }
    )


def pipeline(name: str, attack: str, **given) -> Pipeline:
    recipe = shipped_recipes()[attack]
    return Pipeline(name, (make_stage(recipe, given),))


def test_the_records_of_a_run_raise_their_flags_with_a_sentence():
    pipelines = [
        Pipeline("clean", ()),
        pipeline("pgd", "pgd", eps=2.5 / 255),
        pipeline("box", "square", eps=2.5 / 255),
    ]
    frames = [records("clean", 190, attacked=False), records("pgd", 150), records("box", 60)]
    found = raised_by_records(pd.concat(frames, ignore_index=True), pipelines)
    assert {(flag.pipeline, flag.flag) for flag in found} == {
        ("pgd", "black_box_beats_white_box"),
        ("pgd", "eps_floored"),
        ("box", "eps_floored"),
    }
    assert all(flag.detector == "d" and flag.evidence for flag in found)


def test_every_row_of_a_cell_carries_its_flags_once_and_in_one_order():
    summary = pd.DataFrame(
        {"detector": "d", "pipeline": ["clean", "pgd", "pgd"], "generator": ["all", "all", "gan"]}
    )
    given = [
        RaisedFlag("loss_still_rising", "d", "pgd", ""),
        RaisedFlag("black_box_beats_white_box", "d", "pgd", "seen in the records"),
        RaisedFlag("black_box_beats_white_box", "d", "pgd", "seen by the probe"),
        RaisedFlag("one_class", "other", "pgd", ""),
    ]
    both = "loss_still_rising black_box_beats_white_box"
    assert add_trust(summary, given)["trust"].tolist() == ["ok", both, both]


def test_no_two_findings_share_a_name_and_each_has_a_meaning():
    assert len({flag.name for flag in flags()}) == len(flags())
    assert all(flag.meaning and not flag.meaning.endswith(".") for flag in flags())


def clean_records(log_odds: np.ndarray, labels: np.ndarray, detector: str = "d") -> pd.DataFrame:
    return pd.DataFrame({"detector": detector, "pipeline": "clean", "label": labels, "log_odds": log_odds})


def test_a_ranking_below_one_half_is_a_flag_and_chance_is_none():
    from sklearn.metrics import roc_auc_score

    rng, labels = np.random.default_rng(0), np.array([0, 1] * 100)
    mirrored = rng.normal(-2.0 * labels, 1)
    told = below_chance(clean_records(mirrored, labels))
    assert told is not None
    assert f"AUROC {roc_auc_score(labels, mirrored):.3f} on 200 clean images" in told
    assert below_chance(clean_records(-mirrored, labels)) is None
    assert below_chance(clean_records(1e4 * mirrored, labels)) is not None  # Where a float32 score is 0 or 1.
    assert below_chance(clean_records(np.zeros(200), labels)) is None
    assert below_chance(clean_records(mirrored[labels == 1], labels[labels == 1])) is None
    found = [below_chance(clean_records(rng.normal(size=200), labels)) for _ in range(200)]
    assert sum(told is not None for told in found) <= 6  # Two are expected at p < 0.01.


@pytest.mark.parametrize(("each", "flagged"), [(2, False), (3, True), (4, True), (5, True)])
def test_three_images_of_each_class_are_the_fewest_that_show_a_mirrored_ranking(each, flagged):
    labels = np.array([0] * each + [1] * each)
    told = below_chance(clean_records(-np.arange(2.0 * each), labels))
    assert (told is not None) == flagged


def test_few_images_are_flagged_as_counting_every_assignment_of_classes_says():
    """Ties included: the p-value is the share of assignments that rank the fakes as low."""
    from itertools import combinations

    from sklearn.metrics import roc_auc_score

    rng, flagged = np.random.default_rng(5), 0
    for _ in range(60):
        each = int(rng.integers(3, 6))
        labels = np.array([1] * each + [0] * each)
        scores = rng.integers(0, 4, 2 * each) - 1.5 * labels
        auroc = roc_auc_score(labels, scores)
        above = (scores[:, None] > scores) + (scores[:, None] == scores) / 2
        everybody = set(range(2 * each))
        lower = [
            above[np.ix_(fakes, sorted(everybody - set(fakes)))].mean() <= auroc + 1e-12
            for fakes in combinations(range(2 * each), each)
        ]
        p_value = np.mean(lower)
        expected = auroc < 0.5 and (p_value < 0.01 or (auroc <= 0.25 and p_value <= 0.05))
        assert (below_chance(clean_records(scores, labels)) is not None) == expected
        flagged += expected
    assert 10 < flagged < 50


def test_a_mirrored_detector_is_flagged_however_many_stand_beside_it():
    """Twelve images, AUROC 3 / 36."""
    labels = np.array([0] * 6 + [1] * 6)
    scores = -labels.astype(float)
    scores[5], scores[6:9] = -0.5, -0.25
    others = [clean_records(np.arange(12.0), labels, detector=f"right {number}") for number in range(20)]
    records = pd.concat([clean_records(scores, labels), *others], ignore_index=True)
    records = records.assign(attacked=False, correct=True, correct_float=pd.NA)
    (flag,) = raised_by_records(records, [Pipeline("clean", ())])
    assert (flag.flag, flag.detector) == ("worse_than_chance", "d")
    assert "AUROC 0.083 on 12 clean images" in flag.evidence
