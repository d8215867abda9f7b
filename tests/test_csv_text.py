"""No name from the data is a formula in a CSV file, and every name can be read back."""

import csv
import io
import re

import pandas as pd
import pytest
from conftest import write_image

from robustbench_aigen.csv_text import csv_of, guarded, unguarded, unguarded_frame
from robustbench_aigen.evaluation import run
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import load_scenario

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = [
    "=1+1",
    "+cmd|'/C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''@x",
    "'quoted'",
    "sdxl",
    "-",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_formula_and_comes_back(name):
    assert not (guarded(name)[:1] in set("=+-@\t\r") and len(name) > 1)
    assert unguarded(guarded(name)) == name


def test_numbers_stay_numbers_in_columns_of_numbers_and_of_text():
    frame = pd.DataFrame({"generator": ["=x", "b"], "drop": [-0.5, 1.0], "shown": ["-12.5", "+3"]})
    read = pd.read_csv(io.StringIO(csv_of(frame)))
    assert read["drop"].tolist() == [-0.5, 1.0]
    assert read["shown"].tolist() == [-12.5, 3.0]
    assert read["generator"].tolist() == ["'=x", "b"]
    assert unguarded_frame(read)["generator"].tolist() == ["=x", "b"]


def test_the_tables_of_a_run_and_of_a_prepared_folder_hold_no_formula(tmp_path, cli):
    for number in range(6):
        data = tmp_path / "data" / ("=cmd()", "@sum")[number % 2]
        write_image(data / "fake" / f"@{number}.png", 50 + number, fake=True)
        write_image(data / "real" / f"+{number}.png", number, fake=False)
    (tmp_path / "s.yaml").write_text(
        "version: 1\nname: s\ndata: {source: data, split: all}\n"
        "detectors: [{id: minigen/lenet5, name: '-lenet'}, minigen/cifake_cnn]\n"
        "pipelines: {'+jpeg': [{perturb: jpeg, quality: 50}]}\n"
    )
    folder = run(load_scenario(tmp_path / "s.yaml"), output=tmp_path / "out").folder
    assert cli("report", folder, "--output", tmp_path / "report").code == 0
    assert cli("data", "prepare", tmp_path / "data", tmp_path / "prepared").code == 0
    files = [
        *folder.rglob("*.csv"),
        *(tmp_path / "report").rglob("*.csv"),
        tmp_path / "prepared" / "prepared.csv",
    ]
    assert len(files) > 3
    for file in files:
        cells = [cell for row in csv.reader(file.open(newline="")) for cell in row]
        assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-[^\d.]", cell)], file
    assert "=cmd()" in set(Run.load(folder).summary["generator"])
