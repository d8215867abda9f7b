"""The command line: what it prints, how it ends, and that help stays light."""

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interrupted import run_with_signal
from test_engine import PGD_AND_NOISE, scenario

from robustbench_aigen.catalogue import shipped_files


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['robust-aigen', '--help']\n"
        "from robustbench_aigen.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pyarrow', 'matplotlib', 'art', 'pydantic', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


@pytest.mark.parametrize(
    "command", ["run", "predict", "explain", "app", "audit", "validate", "list", "gate", "report", "finetune"]
)
def test_every_command_has_help(cli, command):
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out


def test_json_is_json_and_nan_is_null(tmp_path, cli):
    outcome = cli("run", scenario(tmp_path, PGD_AND_NOISE), "--output", tmp_path / "out", "--json")
    content = json.loads(outcome.out)
    assert Path(content["run_folder"]).is_dir()
    clean = content["summary"][0]
    assert clean["pipeline"] == "clean"
    assert clean["drop"] is None
    assert 0.5 < clean["accuracy"] <= 1


def test_options_override_the_file(tmp_path, image_folder, weights, cli):
    outcome = cli(
        "run", scenario(tmp_path, PGD_AND_NOISE), "--detector", weights, "--arch", "lenet5", "--data", image_folder,
        "--split", "all", "--limit", 10, "--precision", "fp32", "--device", "cpu", "--output", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "pixels in [0, 1] (assumed; set mean and std)" in outcome.err
    content = json.loads(outcome.out)
    assert {row["detector"] for row in content["summary"]} == {"untrained"}
    info = json.loads((Path(content["run_folder"]) / "run.json").read_text())
    assert info["data"]["images"] == 10
    assert info["precision"] == "fp32"
    again = cli(*shlex.split(info["command"])[1:], "--output", tmp_path / "again", "--json")
    assert json.loads(again.out)["summary"] == content["summary"]
    assert info["command"] in (Path(content["run_folder"]) / "report.md").read_text()


def test_a_shipped_detector_can_be_named_on_the_command_line(tmp_path, cli):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}")
    outcome = cli(
        "run", file, "--detector", "minigen/lenet5@dcgan", "--limit", 20, "--output", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.err
    assert "minigen/lenet5@dcgan" in outcome.out


def test_a_dry_run_shows_the_cells_and_writes_nothing(tmp_path, cli):
    outcome = cli(
        "run", scenario(tmp_path, PGD_AND_NOISE), "--dry-run", "--output", tmp_path / "out", "--json"
    )
    cells = json.loads(outcome.out)
    assert [cell["pipeline"] for cell in cells] == ["clean", "pgd", "noise"]
    assert all(0 < cell["least"] <= cell["seconds"] <= cell["most"] for cell in cells)
    assert cells[1]["queries"] > cells[0]["queries"] == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["run", "pgd_eps4", "--device", "tpu"], "unknown device 'tpu'"),
        (["run", "pgd_eps4", "--device", "cuda:9"], "not available"),
        (["run", "pgd_eps4", "--precision", "fp8"], "precision: must be 'auto', 'fp32' or 'bf16', not 'fp8'"),
        (["run", "pgd_eps4", "--arch", "lenet5"], "--arch needs --detector"),
        (["run", "pgd_eps4", "--limit", "0"], "--limit"),
        (["run", "pgd_eps4", "--detector", "minigen/lenet6"], "did you mean 'minigen/lenet5'"),
        (["run", "pgd_eps4", "--data", "nowhere"], "error: no data at"),
        (["run", "pgd_eps4", "--split", "holdout"], "no split 'holdout'"),
        (["run", "pgd_eps4", "--unknown"], "No such option"),
        (["run", "."], "cannot be read as text"),
        (["run", "x" * 5000], "cannot be opened"),
        (["report", "nowhere"], "no run folder"),
        (["list", "everything"], "everything"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_arguments_end_with_2_and_say_why(cli, arguments, part):
    outcome = cli(*arguments)
    assert outcome.code == 2
    assert part in outcome.err
    assert "Traceback" not in outcome.err


def test_an_output_folder_that_cannot_be_written_is_the_users_matter(tmp_path, cli):
    (tmp_path / "file").write_text("in the way")
    outcome = cli("run", scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}"), "--output", tmp_path / "file")
    assert outcome.code == 2
    assert "--output" in outcome.err


def test_a_fault_of_the_program_is_one_line_and_3_and_a_traceback_only_on_request(monkeypatch, cli):
    def broken(*arguments, **keywords):
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("robustbench_aigen.scenario.scenario.load_scenario", broken)
    outcome = cli("run", "pgd_eps4")
    assert outcome.code == 3
    assert outcome.err.splitlines() == [
        "error: RuntimeError: wires crossed",
        "  robust-aigen --debug COMMAND … shows the traceback",
    ]
    assert "Traceback" in cli("--debug", "run", "pgd_eps4").err


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        (
            {"detectors": "[minigen/lenet5, minigen/lenet5]"},
            "scenario.yaml:4: detectors[1]: two detectors are called",
        ),
        (
            {"threshold": "youden", "data": "{source: minigen, split: all}"},
            "threshold: 'youden' is fitted on the validation",
        ),
    ],
)
def test_validate_refuses_what_run_refuses(tmp_path, cli, keys, part):
    file = scenario(tmp_path, "{jpeg: [{perturb: jpeg}]}", **keys)
    for command in ("validate", "run"):
        outcome = cli(command, file)
        assert outcome.code == 2
        assert part in outcome.err


def test_a_quality_without_its_format_is_refused(tmp_path, image_folder, cli):
    outcome = cli("data", "prepare", image_folder, tmp_path / "out", "--quality", 5)
    assert outcome.code == 2
    assert "--quality needs --format jpeg" in outcome.err
    assert not (tmp_path / "out").exists()


def test_validate_checks_every_shipped_scenario(cli):
    outcome = cli("validate", *shipped_files("scenarios"))
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("fine") == len(shipped_files("scenarios"))


@pytest.mark.parametrize(
    ("kind", "part"),
    [("attacks", "pgd"), ("perturbations", "jpeg"), ("detectors", "minigen/cifake_cnn"), ("scenarios", "pgd_eps4"),
     ("data", "minigen")],
)  # fmt: skip
def test_lists(cli, kind, part):
    assert part in cli("list", kind).out
    assert part in {row["name"] for row in json.loads(cli("list", kind, "--json").out)}


def test_attacks_are_listed_readably_at_100_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = re.sub(r"\x1b\[\d+m", "", cli("list", "attacks").out).splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = [line for line in lines if line.split()[:1] == ["hopskipjump"]]
    assert line.split()[:4] == ["hopskipjump", "linf,", "l2", "decisions"]
    # The widest columns stand below their row.
    below = " ".join(" ".join(lines[lines.index(line) :]).split())
    assert re.search(r"hopskipjump .+? backends: art ", below)
    assert any(line.split()[:1] == ["rescaling_autoconjugate"] for line in lines)
    assert any(line.split() == ["backends:", "native,", "torchattacks,", "art"] for line in lines)


def test_a_reader_that_goes_away_changes_no_exit_code():
    command = f"{sys.executable} -m robustbench_aigen list perturbations | head -0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == 0
    assert done.stderr == b""


def test_ctrl_c_says_that_the_work_is_kept(tmp_path):
    file = scenario(tmp_path, "{noise: [{perturb: gaussian_noise}]}", data="{source: minigen, limit: 20}")
    # The detector's examination is kept first, then the first shard.
    done = run_with_signal(signal.SIGINT, 2, file, tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1] == (
        "interrupted; finished work is kept, and the same command continues from there"
    )
    assert len(list((tmp_path / "out").glob(".cache/*/*.parquet"))) == 2
    assert not list((tmp_path / "out").glob("example/*/summary.csv"))
