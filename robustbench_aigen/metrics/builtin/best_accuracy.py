"""Balanced accuracy at the best threshold; NaN where a class is missing."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric
from robustbench_aigen.numerics.curves import roc_curve


@metric("best_accuracy", title="best threshold (optimistic)", needs="log_odds", optional=True)
def best_accuracy(log_odds: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the highest balanced accuracy of any threshold on these images.

    The threshold is chosen with the labels of the tested images, so the number is too high for any deployed detector.
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    curve = roc_curve(labels, log_odds)
    return float(((curve.tpr + 1 - curve.fpr) / 2).max())
