"""Run folders of earlier formats: each opens, and gives the tables that it was written with."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.baseline import open_recorded
from robustbench_aigen.runs.folder import read_run
from robustbench_aigen.runs.info import parse_info, pipelines_of
from robustbench_aigen.runs.migrations import upgrade
from robustbench_aigen.views.gating.verdict import gate
from robustbench_aigen.views.report import build_report

RUNS = REPOSITORY / "tests" / "data" / "runs"
FOLDERS = sorted(path.parent for path in RUNS.glob("format_*/*/run.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_folder_of_an_earlier_format_gives_its_tables(folder: Path, tmp_path: Path):
    copied = shutil.copytree(folder, tmp_path / "run")
    build_report([copied])
    tables = sorted((folder / "tables").glob("*.csv"))
    assert len(tables) >= 4
    for table in tables:
        assert (copied / "tables" / table.name).read_bytes() == table.read_bytes(), table.name
    run = read_run(copied)
    assert (
        len(run.records)
        == len(run.info["pipelines"]) * len(run.info["detectors"]) * run.info["data"]["images"]
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_baseline_of_an_earlier_format_gates_its_run(folder: Path):
    assert len(open_recorded(folder / "baseline").records) > 0
    assert gate(folder, folder / "baseline").passed


def test_format_0_becomes_what_format_1_writes_of_the_same_pipelines():
    old, new = (
        {pipeline["name"]: pipeline for pipeline in read_run(RUNS / name / "swept").info["pipelines"]}
        for name in ("format_0", "format_1")
    )
    assert len(new) > 10
    assert {name: old[name] for name in new} == new


def test_a_folder_of_format_0_gains_families_and_keeps_its_run_json(tmp_path: Path):
    copied = shutil.copytree(RUNS / "format_0" / "swept", tmp_path / "run")
    before = (copied / "run.json").read_bytes()
    build_report([copied])
    assert (copied / "run.json").read_bytes() == before
    summary = read_run(copied).summary
    assert "stage_params" not in summary
    assert list(summary["family"].unique()) == ["clean", "pgd", "pgd_then_jpeg", "through_jpeg", "twice"]


@pytest.mark.parametrize("pipelines", [None, 3, [], {"clean": None}, {"clean": [1]}])
def test_pipelines_of_another_kind_are_refused(pipelines: object):
    old = json.loads((FOLDERS[0] / "run.json").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="pipeline"):
        parse_info(json.dumps({**old, "pipelines": pipelines}), "run")


def test_what_follows_from_a_swept_value_was_not_swept():
    stage = {"attack": "pgd", "norm": "linf", "eps": 1.0, "step_size": 0.5}
    stages = {
        "p[eps=1,0.size=2]": [stage, {"perturb": "resize", "size": 2}],
        "p[eps=2,0.size=2]": [{**stage, "eps": 2.0, "step_size": 1.0}, {"perturb": "resize", "size": 2}],
        "one[eps=1]": [stage],
    }
    upgraded = upgrade({"pipelines": stages, "shared_sweeps": {"p[eps=2,0.size=2]": "p[eps=1,0.size=2]"}})
    first, second, one = pipelines_of(upgraded).values()
    assert second.swept == {(0, "eps"): 2.0, (1, "size"): 2}
    assert (first.smaller, second.smaller) == (None, "p[eps=1,0.size=2]")
    assert (one.family, one.swept) == ("one", {(0, "eps"): 1.0})


@pytest.mark.parametrize("number", [2, 7, 10**20])
@pytest.mark.parametrize("name", ["run.json", "baseline/baseline.json"])
def test_a_newer_format_is_refused_with_the_command_that_helps(name: str, number: int, tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    file = copied / name
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))
    with pytest.raises(UserError, match=f"has format {number}; this version reads") as raised:
        open_recorded(file.parent)
    assert raised.value.hint == "pip install -U robustbench-aigen"


@pytest.mark.parametrize("number", [None, "1", 1.5, -1, True])
def test_a_format_that_is_no_whole_number_is_refused(number: object, tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    file = copied / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))
    with pytest.raises(UserError, match="format is"):
        read_run(copied)


def test_columns_of_later_versions_are_ignored(tmp_path: Path):
    before = read_run(FOLDERS[0])
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    (copied / "run.json").write_text(json.dumps(sealed({**before.info, "later": {"key": [1]}}, {})))
    pd.read_csv(copied / "summary.csv", dtype=str, keep_default_na=False).assign(later="x").to_csv(
        copied / "summary.csv", index=False
    )
    pd.read_parquet(copied / "records.parquet").assign(later="x").to_parquet(copied / "records.parquet")
    after = read_run(copied)
    pd.testing.assert_frame_equal(after.summary, before.summary)
    pd.testing.assert_frame_equal(after.records, before.records)
