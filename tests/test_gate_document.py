"""docs/GATE.md, the GitHub action and the pytest plugin: what they say is run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from gated_runs import made_up, write

from robustbench_aigen.scenario.gate_spec import load_gate_spec
from robustbench_aigen.scenario.scenario import load_scenario

TEXT = (REPOSITORY / "docs" / "GATE.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SCENARIO, SETTINGS, GITHUB, GITLAB = [text for kind, text in BLOCKS if kind == "yaml"]
CONSOLE = [line[2:] for kind, text in BLOCKS if kind == "console" for line in text.splitlines()]
IN_PYTEST, IN_PYTHON = [text for kind, text in BLOCKS if kind == "python"]
PLUGIN = "robustbench_aigen.pytest_plugin"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gate")
    (folder / "gated.yaml").write_text(SCENARIO.replace("limit: 200", "limit: 60"))
    return folder


def test_the_document_runs(workplace, monkeypatch, cli, capsys):
    """Commands, Python and the test in pytest, one after the other, as a reader would."""
    monkeypatch.chdir(workplace)
    for command in CONSOLE:
        program, *arguments = shlex.split(command)
        assert program == "robust-aigen"
        outcome = cli(*arguments)
        assert outcome.code == 0, (command, outcome.err, outcome.out)
    exec(compile(IN_PYTHON, "GATE.md", "exec"), {})
    assert "True" in capsys.readouterr().out
    (workplace / "test_gate_in_pytest.py").write_text(IN_PYTEST)
    done = in_pytest(workplace, "test_gate_in_pytest.py")
    assert done.returncode == 0, done.stdout


def in_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_settings_and_snippets_are_what_they_claim(tmp_path):
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    assert load_gate_spec(tmp_path / "settings.yaml").floors == ["accuracy of pgd[eps=1/255] >= 0.05"]
    (tmp_path / "gated.yaml").write_text(SCENARIO)
    assert load_scenario(tmp_path / "gated.yaml").gate.metrics == ["accuracy", "tpr"]
    (step,) = [
        step for step in yaml.safe_load(GITHUB)["jobs"]["gate"]["steps"] if "robust-aigen@" in step["uses"]
    ]
    assert set(step["with"]) <= set(ACTION["inputs"])
    gitlab = yaml.safe_load(GITLAB)["robustness"]
    assert gitlab["script"][-1] in [f"{command} --junit gate.xml" for command in CONSOLE]
    assert gitlab["artifacts"]["reports"]["junit"] == "gate.xml"


def test_the_plugin_fails_a_test_and_imports_nothing_heavy(tmp_path):
    import numpy as np

    right = np.ones(400, dtype=bool)
    worse = np.arange(400) >= 40
    write(made_up({("d", "clean"): right, ("d", "pgd"): right}), tmp_path / "then")
    write(made_up({("d", "clean"): right, ("d", "pgd"): worse}), tmp_path / "now")
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_light():\n    assert not {'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "def test_fails(robust_gate):\n    robust_gate('now', 'then')\n"
        "def test_holds(robust_gate):\n    assert robust_gate('then', 'now').passed\n"
        "def test_says_what_is_wrong(robust_gate):\n    robust_gate('now', 'gone')\n"
    )
    done = in_pytest(tmp_path, "test_it.py")
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    assert "accuracy of pgd fell by 10.0 points" in done.stdout
    assert "no run folder 'gone'" in done.stdout


ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))


def steps(inputs: dict[str, str], folder: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run the action's own shell steps with some inputs, as GitHub's runner does, up to the first that fails."""
    program = folder / "bin" / "robust-aigen"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m robustbench_aigen "$@"\n')
    program.chmod(0o755)
    values = {name: str(given.get("default", "")) for name, given in ACTION["inputs"].items()} | inputs
    output, done = folder / "github_output", []
    output.write_text("")
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or "Install" in step.get("name", ""):
            continue
        told = dict(line.partition("=")[::2] for line in output.read_text().splitlines())
        own = {}
        for name, value in step["env"].items():
            kind, _, key = value.strip("${} ").rpartition(".")
            own[name] = values[key] if kind == "inputs" else told.get(key, "")
        environment = {
            **os.environ, **own, "PATH": f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY), "GITHUB_OUTPUT": str(output), "RUNNER_TEMP": str(folder),
            "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }  # fmt: skip
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done.append(
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        )
        if done[-1].returncode:
            break
    return done


def test_the_action_runs_a_scenario_and_gates_it(workplace, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gated.yaml").write_text((workplace / "gated.yaml").read_text())
    assert cli("run", "gated.yaml").code == 0
    assert cli("gate", "results/gated", "--baseline", "baseline", "--update").code == 0
    done = steps({"scenario": "gated.yaml", "baseline": "baseline"}, tmp_path)
    assert [step.returncode for step in done] == [0, 0], [step.stderr for step in done]
    assert (tmp_path / "robust-aigen-gate.xml").is_file()
    assert "the gate passed" in (tmp_path / "summary.md").read_text()
    strict = tmp_path / "strict $(touch hacked).yaml"
    strict.write_text("floors: accuracy of pgd >= 0.99\n")
    done = steps({"run": "results/gated", "baseline": "baseline", "config": strict.name}, tmp_path)
    assert [step.returncode for step in done] == [0, 1]
    assert "::error title=robust-aigen%3A accuracy of pgd" in done[-1].stdout
    assert not (tmp_path / "hacked").exists()


def test_the_action_wants_one_of_two(tmp_path):
    for inputs in ({}, {"run": "a", "scenario": "b"}):
        done = steps({"baseline": "baseline", **inputs}, tmp_path)
        assert [step.returncode for step in done] == [2]
        assert "either 'scenario' or 'run'" in done[0].stdout
