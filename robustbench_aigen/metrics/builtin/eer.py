"""Equal error rate; NaN where a class is missing."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric
from robustbench_aigen.numerics.curves import roc_curve


@metric("eer", title="EER", needs="log_odds", optional=True)
def eer(log_odds: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the error rate where as many fakes are called real as reals are called fake, in shares of each class.

    Between two points of the ROC curve, both rates are linear, as on the convex combination of two thresholds.
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    curve = roc_curve(labels, log_odds)
    misses, alarms = 1 - curve.tpr, curve.fpr
    after = int(np.argmax(alarms >= misses))
    if alarms[after] == misses[after] or after == 0:
        return float(alarms[after])
    gap = (misses - alarms)[[after - 1, after]]
    share = gap[0] / (gap[0] - gap[1])
    return float(alarms[after - 1] + share * (alarms[after] - alarms[after - 1]))
