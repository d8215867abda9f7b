"""Run folders of earlier formats: each opens, and gives the tables that it was written with."""

import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY

from robustbench_aigen import gate
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
