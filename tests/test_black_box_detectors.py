"""Detectors without gradients: attacked by queries and by transfer, and nothing else is tried."""

from pathlib import Path

import pandas as pd
import pytest

SCENARIO = """version: 1
name: x
data: {source: minigen, limit: 12}
detectors: ["python:hidden.py:make"]
pipelines:
PIPELINES
"""
HIDDEN = """
import torch
from robustbench_aigen import load_detector

def make():
    inner = load_detector("minigen/lenet5")
    @torch.no_grad()
    def answer(pixels):
        return inner(pixels)
    return answer
"""


@pytest.fixture
def scenario(tmp_path):
    (tmp_path / "hidden.py").write_text(HIDDEN)

    def write(pipelines: str) -> Path:
        (tmp_path / "x.yaml").write_text(SCENARIO.replace("PIPELINES", pipelines))
        return tmp_path / "x.yaml"

    return write


@pytest.mark.parametrize(
    "pipeline",
    ["{attack: pgd}", "{attack: fab}", "{attack: deepfool}", "{attack: tifgsm}",
     "{attack: pgd, through: [{perturb: jpeg}]}", "{attack: pgd, surrogate: 'python:hidden.py:make'}"],
)  # fmt: skip
def test_attacks_with_gradients_are_refused_before_anything_runs(tmp_path, scenario, cli, pipeline):
    outcome = cli("run", scenario(f"  p: [{pipeline}]"), "--output", tmp_path / "out")
    assert outcome.code == 2
    first, second = outcome.err.splitlines()
    assert "x.yaml:6: pipelines.p[0]: " in first
    assert first.endswith("needs gradients, and detector 'python:hidden.py:make' has none")
    assert "square" in second
    assert "surrogate" in second
    assert not (tmp_path / "out").exists()


def test_queries_and_transfer_fool_it(tmp_path, scenario, cli):
    file = scenario(
        "  square: [{attack: square, eps: 8/255, steps: 60}]\n"
        "  transfer: [{attack: transfer, surrogate: minigen/lenet5, eps: 8/255}]\n"
        "  spsa: [{attack: spsa, eps: 4/255, steps: 1}]\n"
    )
    outcome = cli("run", file, "--dry-run")
    assert outcome.code == 0, outcome.err
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    summary = pd.read_csv(tmp_path / "out" / "x" / "latest" / "summary.csv")
    left = summary[summary["generator"] == "all"].set_index("pipeline")["accuracy"]
    assert left["clean"] > 0.6
    assert left["transfer"] < 0.2
    assert left["square"] < left["clean"]
