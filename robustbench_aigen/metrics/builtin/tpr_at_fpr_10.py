"""Detection rate at 10 % false alarms; NaN where a class is missing."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.builtin.of_scores import highest_tpr
from robustbench_aigen.metrics.metric import metric


@metric("tpr_at_fpr_10", title="TPR at 10 % FPR", needs="log_odds", gated=True, optional=True)
def tpr_at_fpr_10(log_odds: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the highest TPR of a threshold with at most 10 % of the reals called fake (Pd at 10 % false alarms)."""
    return highest_tpr(log_odds, labels, 0.1)
