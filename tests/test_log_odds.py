"""Rankings, fitted thresholds and verdicts at any scale of the logits, compared with scikit-learn on the log-odds."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from PIL import Image
from scipy.special import logit

from robustbench_aigen import load_detector
from robustbench_aigen.evaluation import run
from robustbench_aigen.runs.records import with_later_columns
from robustbench_aigen.runs.run import Run

DETECTORS = """
import torch
from torch import nn
from torch.nn import functional

class Hue(nn.Module):
    def __init__(self, scale=1.0, shift=0.0, single=False):
        super().__init__()
        self.scale, self.shift, self.single = scale, shift, single

    def forward(self, pixels):
        mean = functional.avg_pool2d(pixels, pixels.shape[-1]).flatten(1)
        odds = self.scale * 25 * (mean[:, 0] - mean[:, 1]) + self.shift
        return odds[:, None] if self.single else torch.stack([-odds / 2, odds / 2], dim=1)

def plain(): return Hue()
def hundred(): return Hue(100)
def ten_thousand(): return Hue(10_000)
def shifted(): return Hue(1, 300)
def single(): return Hue(10_000, single=True)
"""
NAMES = ["plain", "hundred", "ten_thousand", "shifted", "single"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise whose red exceeds its green a little more in fakes than in reals."""
    root, rng = tmp_path_factory.mktemp("log_odds"), np.random.default_rng(0)
    for split in ("val", "test"):
        for label, name in enumerate(("real", "fake")):
            (root / "data" / split / name).mkdir(parents=True)
            for number in range(40):
                noise = rng.integers(60, 190, (16, 16, 3))
                noise[..., 0] += int(rng.normal(6 * label - 3, 6))
                Image.fromarray(noise.astype(np.uint8)).save(
                    root / "data" / split / name / f"{number:03}.png"
                )
    (root / "hue.py").write_text(DETECTORS)
    return root


@cache
def result_of(folder, threshold):
    """A run, made once; the tests of this file only read it."""
    detectors = ", ".join(
        f"{{id: 'python:{folder / 'hue.py'}:{name}', name: {name}, fake_index: 1, mean: [0, 0, 0], std: [1, 1, 1]}}"
        for name in NAMES
    )
    file = folder / f"t{threshold}.yaml"
    file.write_text(
        f"version: 1\nname: t\ndata: {{source: data}}\ndetectors: [{detectors}]\nthreshold: {threshold}\ntrust: off\n"
        "pipelines: {jpeg: [{perturb: jpeg, quality: 60}], pgd: [{attack: pgd, eps: 2/255, steps: 2}]}\n"
    )
    return run(file, output=folder / "out", trust_code=True)


def odds_of(folder, name, split):
    """Labels and log-odds of a split, by plain torch on the decoded PNGs."""
    detector = load_detector(f"python:{folder / 'hue.py'}:{name}", trust_code=True)
    files = sorted((folder / "data" / split).glob("*/*.png"))
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(f))).permute(2, 0, 1) / 255 for f in files])
    answers = detector.network(pixels)
    odds = answers[:, 0] if answers.shape[1] == 1 else answers[:, 1] - answers[:, 0]
    return np.array([int(file.parent.name == "fake") for file in files]), odds.numpy()


@pytest.mark.parametrize("rule", ["youden", "fpr@0.05"])
def test_scikit_learn_on_the_log_odds_gives_the_same_ranking_and_threshold(folder, rule):
    result = result_of(folder, rule)
    for name, info in zip(NAMES, result.info.detectors, strict=True):
        labels, odds = odds_of(folder, name, "test")
        row = result.summary.query(
            f"detector == '{name}' and pipeline == 'clean' and generator == 'all'"
        ).iloc[0]
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(labels, odds), abs=1e-9)
        assert row["ap"] == pytest.approx(sk.average_precision_score(labels, odds), abs=1e-9)
        fpr, tpr, _ = sk.roc_curve(labels, odds, drop_intermediate=False)
        assert row["tpr_at_fpr_5"] == pytest.approx(tpr[fpr <= 0.05].max())
        validation, their = odds_of(folder, name, "val")
        fpr, tpr, candidates = sk.roc_curve(validation, their, drop_intermediate=False)
        chosen = candidates[np.argmax(tpr - fpr) if rule == "youden" else np.flatnonzero(fpr <= 0.05)[-1]]
        assert info.threshold_log_odds == pytest.approx(chosen, rel=2e-5, abs=2e-5)
        assert row["accuracy"] == pytest.approx(((odds >= chosen) == labels).mean())
        records = result.records.query(f"detector == '{name}'")
        verdict = records["log_odds"] >= records["threshold_log_odds"]
        assert (records["correct"] == (verdict == records["label"])).all()


def test_an_attack_sees_the_threshold_that_judges_saturated_scores(folder):
    """At 300 nats every score is 1.0; the attack fools what it fools at a shift of 0."""
    cells = result_of(folder, "youden").summary.query("pipeline == 'pgd' and generator == 'all'")
    accuracy = cells.set_index("detector")["accuracy"]
    assert accuracy["shifted"] == pytest.approx(accuracy["plain"], abs=0.026)
    assert accuracy["plain"] < 0.5


def test_records_without_log_odds_are_ranked_by_their_scores(folder):
    result = result_of(folder, "youden")
    old = result.records.query("detector == 'plain'").drop(
        columns=["log_odds", "clean_log_odds", "threshold_log_odds"]
    )
    records = with_later_columns(old)
    assert np.allclose(records["log_odds"], logit(old["score"].astype(float)))
    cell = records.query("pipeline == 'clean'")
    assert sk.roc_auc_score(cell["label"], cell["log_odds"]) == sk.roc_auc_score(cell["label"], cell["score"])
    assert np.isfinite(with_later_columns(pd.DataFrame({"score": np.float32([0, 1])}))["log_odds"]).all()


def test_run_folders_and_baselines_keep_the_log_odds(folder, tmp_path):
    result = result_of(folder, "youden")
    stored = Run.load(result.folder).records
    assert np.array_equal(stored["log_odds"], result.records["log_odds"])
    kept = Run.load(result.save_baseline(tmp_path / "baseline")).records
    clean = kept["pipeline"] == "clean"
    assert np.array_equal(kept.loc[clean, "log_odds"], result.records.loc[clean, "log_odds"])
    assert (
        json.loads((result.folder / "run.json").read_text())["detectors"][0]["threshold_log_odds"] is not None
    )
