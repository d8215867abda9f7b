"""Run folders of earlier formats: each opens, and gives the tables that it was written with."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import REPOSITORY

from robustbench_aigen import gate
from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.baseline import open_recorded
from robustbench_aigen.runs.folder import read_run
from robustbench_aigen.views.report import build_report

FOLDERS = sorted(path.parent for path in (REPOSITORY / "tests" / "data" / "runs").glob("format_*/*/run.json"))


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


@pytest.mark.parametrize("number", [1, 7, 10**20])
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
