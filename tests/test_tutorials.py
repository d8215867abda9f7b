"""Every block of every tutorial works: the files are written, the commands and the Python run in their order."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from typer.main import get_command

from robustbench_aigen.cli.app import app

pytestmark = pytest.mark.usefixtures("undrawn")

FOLDER = REPOSITORY / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SMALLER = {
    "robust-aigen train lenet5 --data minigen --epochs 10 --output trained": ("--epochs", 1, "--limit", 64),
    "robust-aigen run pgd_eps4 --detector trained/lenet5/lenet5.safetensors --limit 200": ("--limit", 20),
    "robust-aigen run my_scenario.yaml": ("--limit", 10),
    "robust-aigen run paper.yaml": ("--limit", 8),
    "robust-aigen run paper.yaml --dry-run": ("--limit", 4),
    "robust-aigen run gated.yaml": ("--limit", 40),
    "robust-aigen run large.yaml --dry-run": ("--limit", 16),
    "robust-aigen run large.yaml --dry-run --time 10m": ("--limit", 16),
}
"""Options for commands that take long."""
DISTRIBUTED = (
    "robust-aigen run large.yaml --engine processes --workers 2",
    "robust-aigen run large.yaml --engine ray --workers 2 --store shards",
)
"""Commands that start processes for half a minute: parsed here, and run by ``make sweep`` and test_distribution.py."""
ELSEWHERE = (
    "python3 -m venv",
    ".venv/bin/pip install",
    "pip install",
    "git add",
    "sbatch",
    "kubectl apply -f",
)
"""Beginnings of commands of other programs."""


@pytest.fixture
def workplace(tmp_path, image_folder, monkeypatch) -> Path:
    image_folder.rename(tmp_path / "my_images")
    shutil.copytree(REPOSITORY / "examples" / "cluster", tmp_path / "examples" / "cluster")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_command(command: str, cli) -> None:
    if not command.startswith("robust-aigen"):
        assert command.startswith(ELSEWHERE), command
        named = [word for word in shlex.split(command)[1:] if word.endswith((".sh", ".yaml"))]
        assert all(Path(word).is_file() for word in named)
        return
    if command in DISTRIBUTED:
        get_command(app).commands["run"].make_context("run", shlex.split(command)[2:])
        return
    outcome = cli(*shlex.split(command)[1:], *SMALLER.get(command, ()))
    assert outcome.code == 0, (command, outcome.err)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_works_from_top_to_bottom(page, workplace, cli):
    names: dict[str, object] = {}
    for kind, title, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            (workplace / title).parent.mkdir(parents=True, exist_ok=True)
            (workplace / title).write_text(text)
        elif kind == "python":
            exec(compile(ast.parse(text), page.name, "exec"), names)
        elif kind == "console":
            for line in text.splitlines():
                assert line.startswith("$ ")
                run_command(line[2:], cli)
        else:
            assert kind == "text"


@pytest.mark.sweep
@pytest.mark.parametrize("command", DISTRIBUTED)
def test_the_engines_of_the_cluster_tutorial_run(command, workplace, cli):
    if "ray" in command:
        pytest.importorskip("ray", reason="needs the extra 'ray'")
    blocks = BLOCK.findall((FOLDER / "my_cluster.md").read_text(encoding="utf-8"))
    (scenario,) = [text for _, title, text in blocks if title == "large.yaml"]
    (workplace / "large.yaml").write_text(scenario)
    outcome = cli(*shlex.split(command)[1:], "--limit", 16)
    assert outcome.code == 0, outcome.err


def test_every_smaller_command_is_one_of_a_tutorial():
    said = {
        line[2:]
        for page in TUTORIALS
        for kind, _, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if kind == "console"
        for line in text.splitlines()
    }
    assert {*SMALLER, *DISTRIBUTED} <= said


def test_the_workflow_of_the_tutorial_gives_the_action_its_inputs():
    text = (FOLDER / "my_ci.md").read_text(encoding="utf-8")
    (workflow,) = [yaml.safe_load(each) for _, title, each in BLOCK.findall(text) if "workflows" in title]
    (step,) = [step for step in workflow["jobs"]["gate"]["steps"] if "robust-aigen@" in step["uses"]]
    action = yaml.safe_load((REPOSITORY / "action.yml").read_text(encoding="utf-8"))
    required = {name for name, each in action["inputs"].items() if each.get("required")}
    assert required <= step["with"].keys() <= action["inputs"].keys()
    assert (step["with"]["scenario"], step["with"]["baseline"]) == ("gated.yaml", "baseline")


def test_every_tutorial_has_blocks_that_are_tested():
    assert [page.stem for page in TUTORIALS] == [
        "my_ci", "my_cluster", "my_detector", "my_folder", "my_paper", "notebook",
    ]  # fmt: skip
    for page in TUTORIALS:
        text = page.read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == text.count("\n```") // 2 > 2
