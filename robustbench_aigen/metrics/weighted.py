"""Two-class metrics of many resamples at once: every image has a weight in each, how often it was drawn.

The rankings of a run are scikit-learn's (:mod:`robustbench_aigen.metrics.classification`), which takes one sample at a
time; with weights of one these are the same numbers.
"""

import numpy as np
from numpy.typing import NDArray

COUNT_METRICS = ("accuracy", "balanced_accuracy", "tpr", "tnr", "precision", "f1")
"""Metrics of the counts of images called fake in each class; *fake* is the positive class."""
SCORE_METRICS = ("auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5")
"""Metrics of the order of the scores."""

Floats = NDArray[np.float64]


def count_metric(name: str, found: Floats, fakes: Floats, kept: Floats, reals: Floats) -> Floats:
    """Return one of :data:`COUNT_METRICS`, NaN where a class that it needs is missing.

    Parameters
    ----------
    name
        Name of the metric.
    found, fakes, kept, reals
        Arrays of one shape: fakes called fake, fakes, reals called real, reals.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "accuracy":
            return (found + kept) / (fakes + reals)
        if name == "balanced_accuracy":
            return (found / fakes + kept / reals) / 2
        if name == "tpr":
            return found / fakes
        if name == "tnr":
            return kept / reals
        called = found + (reals - kept)
        # By convention both are 0 where no image is called fake, or none that is.
        value = (
            found / np.where(called > 0, called, 1) if name == "precision" else 2 * found / (called + fakes)
        )
        return np.where(fakes > 0, value, np.nan)


def score_metric(
    name: str, log_odds: NDArray[np.floating], labels: NDArray[np.int64], weights: NDArray[np.float32]
) -> Floats:
    """Return one of :data:`SCORE_METRICS` of B resamples; NaN where a class has no weight.

    Parameters
    ----------
    name
        Name of the metric.
    log_odds, labels
        N each; log-odds of *fake*.
    weights
        B×N, how often each image is in a resample.
    """
    order = np.argsort(-log_odds, kind="stable")
    # Images with equal log-odds enter together.
    ends = np.append(np.flatnonzero(np.diff(log_odds[order])), len(log_odds) - 1)
    weights = weights[:, order]
    fakes = np.cumsum(weights * labels[order].astype(np.float32), axis=1)[:, ends]
    reals = np.cumsum(weights, axis=1)[:, ends] - fakes
    all_fakes, all_reals = fakes[:, -1].astype(float), reals[:, -1].astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "auroc":
            won = np.diff(reals, axis=1, prepend=0) * (all_fakes[:, None].astype(np.float32) - fakes)
            tied = np.diff(reals, axis=1, prepend=0) * np.diff(fakes, axis=1, prepend=0)
            lost = (won.sum(axis=1, dtype=float) + tied.sum(axis=1, dtype=float) / 2) / (
                all_fakes * all_reals
            )
            return 1 - lost
        if name == "ap":
            precision = np.nan_to_num(fakes / (fakes + reals))
            steps = np.diff(fakes, axis=1, prepend=0) * precision
            return np.where(all_reals > 0, steps.sum(axis=1, dtype=float) / all_fakes, np.nan)
        allowed = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}[name]
        found = np.where(reals <= allowed * all_reals[:, None] * (1 + 1e-12), fakes, 0).max(axis=1)
        return np.where(all_reals > 0, found / all_fakes, np.nan)
