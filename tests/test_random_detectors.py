"""Detectors that draw from global generators: flagged, repeatable, and no reason to stop a run."""

import pandas as pd
import pytest
import torch

from robustbench_aigen import load_detector

RANDOM = """
import torch
from robustbench_aigen import load_detector

class Noisy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = load_detector("minigen/lenet5")

    def forward(self, pixels):
        return self.inner((pixels + 0.02 * torch.randn(pixels.shape)).clamp(0, 1))

def make():
    return Noisy()
"""
SCENARIO = """version: 1
name: x
data: {source: minigen, limit: 12}
detectors: [{id: "python:noisy.py:make", fake_index: 1}]
pipelines:
  pgd: [{attack: pgd, eps: [0.5/255, 1/255], steps: 3, backend: BACKEND}]
"""


@pytest.mark.parametrize("backend", ["native", "art"])
def test_a_random_front_end_is_flagged_and_gives_the_same_records_twice(tmp_path, cli, backend):
    (tmp_path / "noisy.py").write_text(RANDOM)
    file = tmp_path / "x.yaml"
    file.write_text(SCENARIO.replace("BACKEND", backend))
    found = []
    for number in range(2):
        torch.manual_seed(number)  # What a program had drawn before must not matter.
        before = torch.get_rng_state()
        outcome = cli("run", file, "--output", tmp_path / str(number))
        assert outcome.code == 0, outcome.err
        assert torch.equal(torch.get_rng_state(), before)
        found.append(pd.read_parquet(tmp_path / str(number) / "x" / "latest" / "records.parquet"))
    pd.testing.assert_frame_equal(*found)
    summary = pd.read_csv(tmp_path / "0" / "x" / "latest" / "summary.csv")
    attacked = summary[summary["pipeline"].str.startswith("pgd")]
    assert attacked["trust"].str.contains("stochastic_output").all()


def test_only_detectors_that_draw_are_said_to(tmp_path):
    (tmp_path / "noisy.py").write_text(RANDOM)
    assert load_detector("python:noisy.py:make", folder=tmp_path).draws
    assert not load_detector("minigen/cifake_cnn").draws
