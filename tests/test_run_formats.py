"""Run folders of earlier formats: each opens, and gives the tables that it was written with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.info import PipelineInfo, parse_info
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.migrations import upgrade
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.contents import report_tables
from robustbench_aigen.views.gating.verdict import gate
from robustbench_aigen.views.report import report

pytestmark = pytest.mark.usefixtures("undrawn")

RUNS = REPOSITORY / "tests" / "data" / "runs"
FOLDERS = sorted(path.parent for path in RUNS.glob("format_*/*/run.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_folder_of_an_earlier_format_gives_its_tables(folder: Path, tmp_path: Path):
    copied = shutil.copytree(folder, tmp_path / "run")
    report([copied])
    tables = sorted((folder / "tables").glob("*.csv"))
    assert len(tables) >= 4
    for table in tables:
        assert (copied / "tables" / table.name).read_bytes() == table.read_bytes(), table.name
    run = Run.load(copied)
    assert len(run.records) == len(run.info.pipelines) * len(run.info.detectors) * run.info.data.images


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_baseline_of_an_earlier_format_gates_its_run(folder: Path):
    assert len(Run.load(folder / "baseline").records) > 0
    assert gate(folder, folder / "baseline").passed


def test_format_0_becomes_what_format_1_writes_of_the_same_pipelines():
    old, new = (
        {pipeline.name: pipeline for pipeline in Run.load(RUNS / name / "swept").info.pipelines}
        for name in ("format_0", "format_1")
    )
    assert len(new) > 10
    assert {name: old[name] for name in new} == new


def test_a_folder_of_format_0_gains_families_and_keeps_its_run_json(tmp_path: Path):
    copied = shutil.copytree(RUNS / "format_0" / "swept", tmp_path / "run")
    before = (copied / "run.json").read_bytes()
    report([copied])
    assert (copied / "run.json").read_bytes() == before
    summary = Run.load(copied).summary
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
    first, second, one = (PipelineInfo.of(each) for each in upgraded["pipelines"])
    assert [(each.path, each.value) for each in second.swept] == [((0, "eps"), 2.0), ((1, "size"), 2)]
    assert (first.smaller, second.smaller) == (None, "p[eps=1,0.size=2]")
    assert (one.family, one.swept[0].path, one.swept[0].value) == ("one", (0, "eps"), 1.0)


@pytest.mark.parametrize("number", [2, 7, 10**20])
@pytest.mark.parametrize("name", ["run.json", "baseline/baseline.json"])
def test_a_newer_format_is_refused_with_the_command_that_helps(name: str, number: int, tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    file = copied / name
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))
    with pytest.raises(UserError, match=f"has format {number}; this version reads") as raised:
        Run.load(file.parent)
    assert raised.value.hint == "pip install -U robustbench-aigen"


@pytest.mark.parametrize("number", [None, "1", 1.5, -1, True])
def test_a_format_that_is_no_whole_number_is_refused(number: object, tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    file = copied / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": number}))
    with pytest.raises(UserError, match="format is"):
        Run.load(copied)


def test_columns_of_later_versions_are_ignored(tmp_path: Path):
    before = Run.load(FOLDERS[0])
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    (copied / "run.json").write_text(json.dumps(sealed({**before.info.to_dict(), "later": {"key": [1]}}, {})))
    pd.read_csv(copied / "summary.csv", dtype=str, keep_default_na=False).assign(later="x").to_csv(
        copied / "summary.csv", index=False
    )
    pd.read_parquet(copied / "records.parquet").assign(later="x").to_parquet(copied / "records.parquet")
    after = Run.load(copied)
    pd.testing.assert_frame_equal(after.summary, before.summary)
    pd.testing.assert_frame_equal(after.records, before.records)


RESULTS = sorted(path.parent for path in (REPOSITORY / "results").rglob("run.json"))


@pytest.mark.parametrize("folder", RESULTS, ids=lambda folder: folder.name)
def test_the_committed_results_open_and_give_their_tables(folder: Path):
    tables = {
        f"{table.name}.csv": csv_of(table.frame())
        for table in report_tables(join_runs([Run.load(folder)]), [])
    }
    written = {file.name: file.read_text(encoding="utf-8") for file in (folder / "tables").glob("*.csv")}
    # A column of the leaderboard and tables of single images need records, which are not committed.
    del tables["summary.csv"], written["summary.csv"]
    assert len(written) >= 4
    if not Run.load(folder).has_records:
        for name in ("winning_chains.csv", "stability.csv"):
            written.pop(name, None)
    assert tables == written


def without(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a run.json, and leave out the digests as an earlier version does."""
    content = json.loads((folder / "run.json").read_text())
    content.pop("digests", None)
    change(content)
    (folder / "run.json").write_text(json.dumps(content))


LATER_KEYS = (
    "run_id", "command", "seed", "started", "seconds", "precision", "packages", "git_revision", "hardware", "trust",
    "ssim", "notices", "audit", "timings",
)  # fmt: skip


@pytest.mark.parametrize("key", LATER_KEYS)
def test_a_key_that_is_missing_is_computed_or_empty(key: str, tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "plain" / "some_run")
    without(copied, lambda content: content.pop(key))
    run = Run.load(copied)
    assert len(report_tables(join_runs([run]), [])) >= 3
    if key in ("run_id", "seed"):
        assert getattr(run.info, key) == {"run_id": "some_run", "seed": 42}[key]


def test_a_report_needs_none_of_the_keys_of_later_versions(tmp_path: Path):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "plain" / "some_run")
    without(copied, lambda content: [content.pop(key) for key in LATER_KEYS])
    run = Run.load(copied)
    assert report([run]) == run.folder


@pytest.mark.parametrize("key", ["pipelines", "detectors", "data"])
def test_without_a_key_that_nothing_can_stand_in_for_the_file_and_the_way_out_are_named(
    key: str, tmp_path: Path
):
    copied = shutil.copytree(FOLDERS[0], tmp_path / "run")
    without(copied, lambda content: content.pop(key))
    with pytest.raises(UserError, match=f"run.json: {key}") as raised:
        Run.load(copied)
    assert "run the scenario again" in str(raised.value.hint)


def test_columns_of_the_summary_that_are_missing_are_computed_from_the_records(tmp_path: Path):
    whole = Run.load(RUNS / "format_1" / "swept")
    copied = shutil.copytree(whole.folder, tmp_path / "run")
    without(copied, lambda _: None)
    kept = ["detector", "pipeline", "generator", "n", "accuracy"]
    whole.summary[kept].to_csv(copied / "summary.csv", index=False)
    read = Run.load(copied).summary
    assert list(read.columns) == list(whole.summary.columns)
    pd.testing.assert_frame_equal(read, whole.summary, check_dtype=False, rtol=1e-12)
    (copied / "records.parquet").unlink()
    read = Run.load(copied).summary
    assert read["auroc"].isna().all()
    assert read["family"].tolist() == whole.summary["family"].tolist()
    assert read["trust"].tolist() == whole.summary["trust"].tolist()


def test_columns_of_the_records_that_are_missing_are_computed_or_empty(tmp_path: Path):
    whole = Run.load(RUNS / "format_1" / "swept")
    copied = shutil.copytree(whole.folder, tmp_path / "run")
    without(copied, lambda _: None)
    old = whole.records.drop(columns=["psnr", "ssim", "search_eps", "correct_float", "threshold_log_odds"])
    old.to_parquet(copied / "records.parquet", index=False)
    records = Run.load(copied).records
    assert records["psnr"].isna().all()
    assert np.allclose(records["threshold_log_odds"], whole.records["threshold_log_odds"], atol=1e-6)
    old.drop(columns="correct").to_parquet(copied / "records.parquet", index=False)
    with pytest.raises(UserError, match="records.parquet has no column correct"):
        Run.load(copied)
