"""A sweep over eps is one ascending job where only accuracy is asked for, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_engine import scenario

from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import make_experiment
from robustbench_aigen.engine.identity import shard_key
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.engine.store import ShardCache
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.pipeline import Pipeline

EPS = ("1/255", "2/255", "4/255")
SWEEP = "{pgd: [{attack: pgd, eps: [1/255, 2/255, 4/255], steps: 4}]}"
CARRIED = [
    "score",
    "log_odds",
    "correct",
    "correct_float",
    "linf",
    "l2",
    "steps",
    "queries",
    "search_eps",
    "psnr",
    "ssim",
]


def ladder(folder, pipelines: str, **keys) -> list[tuple[str, str | None]]:
    """Names of pipelines, each with the one whose successes it takes over."""
    loaded = load_scenario(scenario(folder, pipelines, **keys))
    return [
        (pipeline.name, pipeline.smaller and pipeline.smaller.name)
        for pipeline in expand_pipelines(loaded)
        if pipeline.stages
    ]


def executed(folder, pipelines: str, **keys) -> tuple[pd.DataFrame, dict[str, int]]:
    """Records, and how many shards of each pipeline were computed."""
    plan = make_experiment(load_scenario(scenario(folder, pipelines, **keys)))
    execution = Execution(plan, ShardCache(folder / "cache", fresh=False), Silent())
    records = execution.records(list(make_shards(plan.selection)))
    return records, {timing["pipeline"]: timing["shards_computed"] for timing in execution.timings}


def cells(folder, pipelines: str, **keys) -> dict[str, pd.DataFrame]:
    records, _ = executed(folder, pipelines, **keys)
    return {name: frame.reset_index(drop=True) for name, frame in records.groupby("pipeline")}


def rung(name: str) -> float:
    return float(np.float32(int(name.split("/", maxsplit=1)[0]) / 255))


@pytest.mark.parametrize("attack", ["pgd, steps: 4", "fab, steps: 6", "square, steps: 30"])
def test_every_rung_attacks_what_the_one_below_left_standing(tmp_path, attack):
    swept = cells(tmp_path, f"{{a: [{{attack: {attack}, eps: [1/255, 2/255, 4/255]}}]}}")
    below = None
    for eps in EPS:
        cell = swept[f"a[eps={eps}]"]
        if below is not None:
            fallen = below["attacked"] & ~below["correct"]
            assert fallen.any()
            pd.testing.assert_frame_equal(cell.loc[fallen, CARRIED], below.loc[fallen, CARRIED])
            new = cell["attacked"] & ~fallen
            assert new.any()
            assert np.allclose(cell.loc[new, "search_eps"], rung(eps))
            assert cell["correct"].sum() <= below["correct"].sum()
        assert cell["search_eps"].isna().equals(~cell["attacked"])
        assert (cell["linf"] <= cell["search_eps"].fillna(0) + 1e-7).all()
        assert (cell["attacked"] == cell["correct_clean"]).all()
        below = cell


def test_a_rung_is_an_attack_on_a_data_set_of_the_survivors(tmp_path):
    """The second rung by hand: its cell alone, on a shard from which the fallen images are taken out."""
    plan = make_experiment(load_scenario(scenario(tmp_path, SWEEP)))
    (shard,) = make_shards(plan.selection)
    _, low, middle, _ = plan.pipelines
    swept = Execution(plan, ShardCache(tmp_path / "cache", fresh=False), Silent()).records([shard])
    cell = swept[swept["pipeline"] == middle.name].reset_index(drop=True)
    below = swept[swept["pipeline"] == low.name].reset_index(drop=True)
    left = (~(below["attacked"] & ~below["correct"])).to_numpy().nonzero()[0]
    whole = decode_shard(shard)
    part = type(whole)(
        [whole.samples[i] for i in left],
        [whole.levels[i] for i in left],
        [whole.hashes[i] for i in left],
        whole.problems,
    )
    alone = plan.cell(plan.detectors[0], Pipeline(middle.name, middle.stages)).run(
        part,
        torch.from_numpy(cell["clean_log_odds"].to_numpy()[left].copy()),
        lambda _, make: make(),
        lambda _: None,
    )
    alone = alone.drop(columns="image")  # Which images are kept for the gallery, a run decides.
    expected = cell.iloc[left].reset_index(drop=True)[alone.columns]
    pd.testing.assert_frame_equal(alone, expected)


def test_cells_are_independent_where_the_scenario_says_so(tmp_path):
    apart = cells(tmp_path, SWEEP, share_sweeps="false")
    for eps in EPS:
        alone = cells(tmp_path, f"{{x: [{{attack: pgd, eps: {eps}, steps: 4}}]}}")["x"]
        pd.testing.assert_frame_equal(
            apart[f"pgd[eps={eps}]"].drop(columns="pipeline"), alone.drop(columns="pipeline")
        )
        attacked = alone["attacked"]
        assert np.allclose(alone.loc[attacked, "search_eps"], rung(eps))


def test_sharing_finds_what_independent_searches_find(tmp_path):
    """What falls at 1/255 has fallen at 4/255: no more images stand than without sharing, and little else changes."""
    shared, apart = cells(tmp_path, SWEEP), cells(tmp_path, SWEEP, share_sweeps="false")
    for eps in EPS:
        difference = shared[f"pgd[eps={eps}]"]["correct"].sum() - apart[f"pgd[eps={eps}]"]["correct"].sum()
        assert -3 <= difference <= 1


def test_a_budget_that_holds_no_more_8_bit_images_is_not_searched_again(tmp_path):
    """1.5/255 holds the images of 1/255; 0.5/255 in L∞, and 0.9/255 in L2, hold the image itself alone."""
    between = "{pgd: [{attack: pgd, eps: [0.5/255, 1/255, 1.5/255, 2/255], steps: 4}]}"
    swept, whole = cells(tmp_path, between), cells(tmp_path, SWEEP)
    low, one, more, two = (swept[f"pgd[eps={eps}]"] for eps in ("0.5/255", "1/255", "1.5/255", "2/255"))
    pd.testing.assert_frame_equal(one, whole["pgd[eps=1/255]"])
    pd.testing.assert_frame_equal(more[one.columns.drop("pipeline")], one.drop(columns="pipeline"))
    pd.testing.assert_frame_equal(two, whole["pgd[eps=2/255]"])
    assert_nothing_was_tried(low)
    l2 = cells(tmp_path, "{pgd: [{attack: pgd, norm: l2, eps: 0.9/255, steps: 4}]}")["pgd"]
    assert_nothing_was_tried(l2)


def assert_nothing_was_tried(cell: pd.DataFrame) -> None:
    attacked = cell["attacked"]
    assert (attacked == cell["correct_clean"]).all()
    assert attacked.any()
    assert (cell["score"] == cell["clean_score"]).all()
    tried = cell.loc[attacked, ["search_eps", "steps", "queries", "linf", "l2"]]
    assert (tried == 0).all(axis=None)
    assert cell.loc[attacked, "correct_float"].isna().all()
    assert (cell.loc[attacked, "psnr"] == np.inf).all()
    assert (cell.loc[attacked, "ssim"] == 1).all()


@pytest.mark.parametrize("mode", ["accuracy", "score"])
def test_nothing_to_search_still_goes_through_what_stands_in_between(tmp_path, mode):
    """An adaptive attacker without a budget is the plain image behind the JPEG."""
    both = cells(
        tmp_path,
        "{a: [{attack: pgd, eps: 0.5/255, through: [{perturb: jpeg, quality: 30}]}], b: [{perturb: jpeg, quality: 30}]}",
        mode=mode,
    )
    assert (both["a"]["score"] == both["b"]["score"]).all()
    assert (both["a"]["score"] != both["clean"]["score"]).any()


@pytest.mark.parametrize(
    ("mode", "with_nothing", "without"),
    [
        ("score", "{perturb: jpeg}, {attack: pgd, eps: 0.5/255}", "{perturb: jpeg}"),
        (
            "accuracy",
            "{perturb: jpeg}, {attack: pgd, eps: 0.5/255}, {perturb: flip}",
            "{perturb: jpeg}, {perturb: flip}",
        ),
        ("accuracy", "{perturb: jpeg}, {attack: pgd, eps: 0.5/255}", "{perturb: jpeg}"),
    ],
)
def test_an_empty_budget_after_a_perturbation_changes_no_score(tmp_path, mode, with_nothing, without):
    both = cells(tmp_path, f"{{a: [{with_nothing}], b: [{without}]}}", mode=mode)
    assert both["a"]["score"].notna().all()
    assert (both["a"]["score"] == both["b"]["score"]).all()


def test_an_attack_after_an_empty_budget_finds_the_images_that_are_right(tmp_path):
    both = cells(
        tmp_path,
        "{a: [{perturb: jpeg}, {attack: pgd, eps: 0.5/255}, {attack: fgsm, eps: 1/255}],"
        " b: [{perturb: jpeg}, {attack: fgsm, eps: 1/255}]}",
    )
    assert both["b"]["attacked"].any()
    assert (both["a"]["score"] == both["b"]["score"]).all()


def test_whom_an_adaptive_attack_is_on_is_decided_behind_what_stands_in_between(tmp_path):
    jpeg = "{perturb: jpeg, quality: 30}"
    both = cells(tmp_path, f"{{a: [{{attack: pgd, eps: 1/255, steps: 2, through: [{jpeg}]}}], b: [{jpeg}]}}")
    assert (both["a"]["attacked"] == both["b"]["correct"]).all()
    # Right before and wrong behind, and the other way round.
    assert (both["b"]["correct"] != both["b"]["correct_clean"]).any()
    held = ~both["a"]["attacked"]
    assert (both["a"].loc[held, "linf"] == 0).all()
    # The images that nobody attacks are judged in a batch of their own, whose sums are in another order.
    assert np.allclose(both["a"].loc[held, "score"], both["b"].loc[held, "score"], rtol=0, atol=1e-6)


PGD = "attack: pgd, eps: [1/255, 2/255]"


@pytest.mark.parametrize(
    ("stages", "keys"),
    [
        (f"{{{PGD}}}", {"mode": "score"}),
        (f"{{{PGD}}}", {"share_sweeps": "false"}),
        (f"{{{PGD}}}, {{perturb: jpeg}}", {}),
        (f"{{{PGD}, surrogate: minigen/cifake_cnn}}", {}),
        (f"{{{PGD}, through: [{{perturb: gaussian_noise}}]}}", {}),
        (f"{{{PGD}, through: [{{perturb: jpeg}}, {{perturb: random_crop}}]}}", {}),
        (f"{{{PGD}}}, {{attack: fgsm, eps: 1/255}}", {}),
        ("{attack: pgd, steps: [1, 2]}", {}),
        ("{attack: universal, eps: [8/255, 16/255]}", {}),
    ],
)
def test_nothing_is_shared_where_it_would_change_the_answer(tmp_path, stages, keys):
    assert {smaller for _, smaller in ladder(tmp_path, f"{{p: [{stages}]}}", **keys)} == {None}


def test_what_is_certain_inside_the_attacked_function_is_shared(tmp_path):
    names = ladder(tmp_path, f"{{p: [{{{PGD}, through: [{{perturb: jpeg}}]}}]}}")
    assert names == [("p[eps=1/255]", None), ("p[eps=2/255]", "p[eps=1/255]")]


def test_the_order_of_the_list_changes_no_record(tmp_path):
    descending = "{pgd: [{attack: pgd, eps: [4/255, 1/255, 2/255], steps: 4}]}"
    up = cells(tmp_path, SWEEP)
    (tmp_path / "elsewhere").mkdir()
    down, computed = executed(tmp_path / "elsewhere", descending)
    assert list(down["pipeline"].unique()) == ["clean", "pgd[eps=4/255]", "pgd[eps=1/255]", "pgd[eps=2/255]"]
    assert set(computed.values()) == {1}
    for name, frame in down.groupby("pipeline"):
        pd.testing.assert_frame_equal(frame.reset_index(drop=True), up[name])


def test_only_cells_with_the_same_other_parameters_are_linked(tmp_path):
    crossed = "{p: [{attack: pgd, eps: [2/255, 1/255], steps: [2, 3], norm: [linf, l2]}]}"
    links = dict(ladder(tmp_path, crossed))
    assert len(links) == 8
    for name, smaller in links.items():
        assert smaller == (name.replace("2/255", "1/255") if "eps=2/255" in name else None)


def test_an_earlier_stages_eps_is_no_rung(tmp_path):
    two = "{p: [{attack: fgsm, eps: [1/255, 2/255]}, {attack: pgd, eps: [1/255, 3/255]}]}"
    links = dict(ladder(tmp_path, two))
    for name, smaller in links.items():
        assert smaller == (name.replace("1.eps=3/255", "1.eps=1/255") if "1.eps=3/255" in name else None)


def test_a_rung_after_another_attack_keeps_what_both_have_noted(tmp_path):
    """The attack before has fooled images on its own; the sweep after it takes them over as they are."""
    two = "{p: [{attack: fgsm, eps: 1/255}, {attack: pgd, eps: [1/255, 2/255], steps: 3}]}"
    swept, apart = cells(tmp_path, two), cells(tmp_path, two, share_sweeps="false")
    for name, cell in swept.items():
        standing_below = swept["p[eps=1/255]"]["correct"]
        pd.testing.assert_frame_equal(cell[~cell["attacked"]], apart[name][~apart[name]["attacked"]])
        if name == "p[eps=2/255]":
            fallen = cell["attacked"] & ~standing_below
            assert fallen.any()
            pd.testing.assert_frame_equal(
                cell.loc[fallen, CARRIED], swept["p[eps=1/255]"].loc[fallen, CARRIED]
            )


def test_the_ladder_is_in_the_key_of_a_shard(tmp_path):
    plan = make_experiment(load_scenario(scenario(tmp_path, SWEEP)))
    (shard,) = make_shards(plan.selection)
    detector = plan.detectors[0]
    settings = plan.cell(detector, plan.pipelines[0]).settings

    def key(pipeline: Pipeline) -> str:
        return shard_key(detector, pipeline, shard, settings, {})

    _, low, middle, high = plan.pipelines
    skipped = Pipeline(high.name, high.stages, low)
    alone = Pipeline(high.name, high.stages)
    assert len({key(high), key(skipped), key(alone)}) == 3
    assert key(low) == key(Pipeline("x", low.stages))
    assert key(Pipeline("x", middle.stages, low)) == key(middle)


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_sweep_goes_on_from_whatever_shards_are_left(tmp_path, kept):
    """One cell's shard alone is left in the cache, as after a run that was killed or a cache that was pruned."""
    keys = {"data": "{source: minigen, split: test, limit: 60}"}
    first, _ = executed(tmp_path, SWEEP, **keys)
    files = sorted((tmp_path / "cache").rglob("*.parquet"))
    assert len(files) == 4
    for number, file in enumerate(files):
        if number != kept:
            file.unlink()
    again, computed = executed(tmp_path, SWEEP, **keys)
    pd.testing.assert_frame_equal(first, again)
    assert sum(computed.values()) == 3


def test_a_longer_sweep_finds_the_rungs_of_a_shorter_one(tmp_path):
    executed(tmp_path, "{a: [{attack: pgd, eps: [1/255, 2/255], steps: 4}]}")
    _, computed = executed(tmp_path, SWEEP)
    assert computed == {"clean": 0, "pgd[eps=1/255]": 0, "pgd[eps=2/255]": 0, "pgd[eps=4/255]": 1}
