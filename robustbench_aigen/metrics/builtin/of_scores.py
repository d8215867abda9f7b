"""Metrics of log-odds or scores of *fake*; NaN where a class is missing."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric
from robustbench_aigen.metrics.weighted import score_metric
from robustbench_aigen.numerics.curves import area_under, average_precision, roc_curve

LogOdds = NDArray[np.floating]
Labels = NDArray[np.integer]
_NAN = float("nan")
_BINS = 15
"""Bins of the expected calibration error, as in Guo et al. 2017."""


def _both(labels: Labels) -> bool:
    return len(np.unique(labels)) == 2


@metric("auroc", title="AUROC", needs="log_odds", gated=True, resampled=partial(score_metric, "auroc"))
def auroc(log_odds: LogOdds, labels: Labels) -> float:
    """Return the area under the ROC curve."""
    return area_under(roc_curve(labels, log_odds)) if _both(labels) else _NAN


@metric("ap", title="AP", needs="log_odds", gated=True, resampled=partial(score_metric, "ap"))
def ap(log_odds: LogOdds, labels: Labels) -> float:
    """Return the average precision."""
    return average_precision(labels, log_odds) if _both(labels) else _NAN


@metric(
    "tpr_at_fpr_1",
    title="TPR at 1 % FPR",
    needs="log_odds",
    gated=True,
    resampled=partial(score_metric, "tpr_at_fpr_1"),
)
def tpr_at_fpr_1(log_odds: LogOdds, labels: Labels) -> float:
    """Return the highest TPR of a threshold with at most 1 % of the reals called fake."""
    return highest_tpr(log_odds, labels, 0.01)


@metric(
    "tpr_at_fpr_5",
    title="TPR at 5 % FPR",
    needs="log_odds",
    gated=True,
    resampled=partial(score_metric, "tpr_at_fpr_5"),
)
def tpr_at_fpr_5(log_odds: LogOdds, labels: Labels) -> float:
    """Return the highest TPR of a threshold with at most 5 % of the reals called fake."""
    return highest_tpr(log_odds, labels, 0.05)


@metric("ece", title="ECE", needs="scores")
def ece(score: NDArray[np.float64], labels: Labels) -> float:
    """Return the expected calibration error of the probability of *fake* (Guo et al. 2017, equation 3)."""
    if not _both(labels):
        return _NAN
    # In a bin of n images, n/N · |their share of fakes − their mean score| is |sum of both's differences| / N.
    bins = np.searchsorted(np.linspace(0, 1, _BINS + 1)[1:-1], score)
    return float(np.abs(np.bincount(bins, weights=score - labels)).sum() / len(score))


def highest_tpr(log_odds: LogOdds, labels: Labels, allowed: float) -> float:
    """Return the highest TPR of a threshold whose FPR is at most ``allowed``."""
    if not _both(labels):
        return _NAN
    curve = roc_curve(labels, log_odds)
    return float(curve.tpr[curve.fpr <= allowed].max())
