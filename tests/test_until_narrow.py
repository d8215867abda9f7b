"""``run --precision 2%``: images until the intervals are narrow, with intervals that hold for this rule."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from robustbench_aigen import Run, Scenario, UserError, evaluation
from robustbench_aigen.engine.until_narrow import looks_of, until_narrow
from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.scenario.amounts import read_width

SCENARIO = {
    "version": 1,
    "name": "narrow",
    "data": {"source": "minigen", "split": "test", "limit": 1500},
    "detectors": ["minigen/lenet5"],
    "pipelines": {"noise": [{"perturb": "gaussian_noise", "sigma": 0.05}]},
    "trust": "off",
}


@pytest.mark.parametrize(("text", "width"), [("2%", 0.02), (" 0.5 %", 0.005), ("bf16", None), ("auto", None)])
def test_widths(text, width):
    assert read_width(text) == width


@pytest.mark.parametrize("text", ["0%", "-1%", "50%", "x%", "%", "nan%"])
def test_what_is_no_width_is_refused(text):
    with pytest.raises(UserError, match="--precision"):
        read_width(text)


def test_images_are_added_until_the_interval_is_narrow(tmp_path):
    scenario = Scenario.from_dict(SCENARIO)
    done = evaluation.run(scenario, output=tmp_path, half_width=0.045)
    rows = done.summary[done.summary["generator"] == "all"]
    widest = ((rows["ci_high"] - rows["ci_low"]) / 2).max()
    looks = looks_of(scenario.experiment().selection)
    assert looks == [256, 512, 1024, 1500]
    assert done.info.data.images in looks[:3]
    assert widest <= 0.045
    for row in rows.itertuples():
        right = round(row.accuracy * row.n)
        assert (row.ci_low, row.ci_high) == pytest.approx(wilson_interval(right, row.n, 1 - 0.05 / 4))
    [told] = [each for each in done.notices if "--precision" in each]
    assert f"{done.info.data.images} images, after look" in told
    assert all(row.shards_computed == 0 for row in done.info.timings if row.step == "cell"), "nothing twice"
    whole = evaluation.run(scenario, output=tmp_path / "whole").records.set_index(["pipeline", "sample"])
    part = done.records.set_index(["pipeline", "sample"])
    pd.testing.assert_frame_equal(part, whole.loc[part.index])


def test_with_too_few_images_all_are_taken_and_the_width_is_told(tmp_path):
    limited = Scenario.from_dict({**SCENARIO, "data": {**SCENARIO["data"], "limit": 300}})
    done = evaluation.run(limited, output=tmp_path, half_width=0.001)
    assert done.info.data.images == 300
    assert any("300 images, which are all, after look 2 of 2" in each for each in done.notices)


def test_looks_are_nested():
    experiment = Scenario.from_dict(SCENARIO).experiment()
    seen = []

    def run(part):
        seen.append(list(part.selection.indices))
        rows = {"generator": ["all"], "ci_low": [0.0], "ci_high": [1.0]}
        return type("R", (), {"summary": pd.DataFrame(rows)})

    until_narrow(experiment, 0.1, run)
    assert [len(each) for each in seen] == [256, 512, 1024, 1500]
    for smaller, larger in pairwise(seen):
        assert larger[: len(smaller)] == smaller, "finished shards are used again"


@pytest.mark.parametrize("accuracy", [0.5, 0.9, 0.97])
def test_intervals_hold_wherever_the_run_stops(accuracy):
    """Against a simulation of runs that stop at the first narrow interval."""
    looks, rng = [256, 512, 1024, 2048], np.random.default_rng(0)
    right = np.cumsum(rng.random((3000, looks[-1])) < accuracy, axis=1)[:, np.array(looks) - 1]
    covered = 0
    for row in right:
        for count, hits in zip(looks, row.tolist(), strict=True):
            interval = wilson_interval(hits, count, 1 - 0.05 / len(looks))
            if interval.high - interval.low <= 0.05 or count == looks[-1]:
                break
        covered += interval.low <= accuracy <= interval.high
    assert covered / len(right) >= 0.95


def test_the_command_takes_a_width(tmp_path, cli):
    file = tmp_path / "s.yaml"
    file.write_text(json.dumps(SCENARIO))
    outcome = cli("run", file, "--precision", "5%", "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("32×32 for any shape") == 1, "notices once, not for every look"
    assert Run.load(tmp_path / "out" / "narrow" / "latest").info.data.images < 1500
    both = cli("run", file, "--precision", "5%", "--time", "1h", "--output", tmp_path / "out")
    assert (both.code, "both choose the number of images" in both.err) == (2, True)
    assert cli("run", file, "--precision", "60%").code == 2
    planned = cli("run", file, "--dry-run", "--precision", "5%", "--time", "1h")
    assert "--precision 5%: the intervals are checked after 256, 512, 1024, 1500 images" in planned.out
    assert "--time 60 min: about 1500 images" in planned.out
    assert cli("run", file, "--dry-run", "--engine", "processes").code == 2
