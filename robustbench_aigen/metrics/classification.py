"""Two-class metrics of one sample of images; *fake* is the positive class."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from robustbench_aigen.metrics.weighted import COUNT_METRICS, count_metric
from robustbench_aigen.numerics.curves import area_under, average_precision, roc_curve

_NAN = float("nan")
_BINS = 15
"""Of the expected calibration error, as in Guo et al. 2017."""


def rates(verdict: NDArray[np.integer], labels: NDArray[np.integer]) -> dict[str, float]:
    """Return :data:`~robustbench_aigen.metrics.weighted.COUNT_METRICS` of N verdicts; NaN where a class is missing."""
    fake, called = labels == 1, verdict == 1
    counts = [np.array(rows.sum(), float) for rows in (called & fake, fake, ~called & ~fake, ~fake)]
    return {name: float(count_metric(name, *counts)) for name in COUNT_METRICS}


def ranking(log_odds: NDArray[np.float32], labels: NDArray[np.integer]) -> dict[str, float]:
    """Return the metrics of N log-odds of *fake*; NaN where a class is missing.

    ``auroc``, ``ap``, ``tpr_at_fpr_1`` and ``tpr_at_fpr_5`` (the highest TPR of a threshold with at most 1 % and 5 %
    of the reals called fake), and ``ece``, the expected calibration error of the probability of *fake* over 15 bins
    (Guo et al. 2017, equation 3).
    """
    if len(np.unique(labels)) < 2:
        return dict.fromkeys(("auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece"), _NAN)
    curve = roc_curve(labels, log_odds)
    return {
        "auroc": area_under(curve),
        "ap": average_precision(labels, log_odds),
        "tpr_at_fpr_1": float(curve.tpr[curve.fpr <= 0.01].max()),
        "tpr_at_fpr_5": float(curve.tpr[curve.fpr <= 0.05].max()),
        "ece": _calibration_error(expit(log_odds.astype(float)), labels),
    }


def _calibration_error(score: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    # In a bin of n images, n/N · |their share of fakes − their mean score| is |sum of both's differences| / N.
    bins = np.searchsorted(np.linspace(0, 1, _BINS + 1)[1:-1], score)
    return float(np.abs(np.bincount(bins, weights=score - labels)).sum() / len(score))
