"""The path of the README from nothing to a leaderboard page: five commands, run as they stand."""

import re
import shlex

import pytest
from conftest import REPOSITORY

from robustbench_aigen.leaderboard.card import read_entry

pytestmark = pytest.mark.usefixtures("undrawn")

BIN = ".venv/bin/"


@pytest.fixture(scope="module")
def commands() -> list[str]:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n## Install, benchmark, leaderboard\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for line in block.splitlines()]


def test_the_installation_is_that_of_the_makefile(commands):
    """``make test`` on a clean machine runs the recipes of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    made = [
        "$(PYTHON) -m venv $(VENV)",
        "$(BIN)/python -m pip install --quiet -e .",
    ]
    assert all(f"\t{line}\n" in makefile for line in made)
    assert commands[:2] == ["python3 -m venv .venv", f"{BIN}pip install -e ."]


def test_three_more_commands_lead_to_a_page(commands, tmp_path, image_folder, weights, monkeypatch, cli):
    image_folder.rename(tmp_path / "my_images")
    weights.rename(tmp_path / "my_detector.safetensors")
    monkeypatch.chdir(tmp_path)
    assert len(commands) == 5
    for command in commands[2:]:
        program, *arguments = shlex.split(command)
        assert program == f"{BIN}robust-aigen"
        outcome = cli(*arguments)
        assert outcome.code == 0, (command, outcome.err)
    (card,) = (tmp_path / "cards").glob("*.json")
    entry = read_entry(card)
    assert (entry.card.detector.spec["path"], entry.card.licence) == ("my_detector.safetensors", "MIT")
    page = (tmp_path / "cards" / "index.html").read_text(encoding="utf-8")
    assert "my_detector" in page
