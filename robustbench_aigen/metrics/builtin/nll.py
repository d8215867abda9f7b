"""Negative log-likelihood of the labels; NaN without images."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric


@metric("nll", title="NLL", needs="log_odds", optional=True)
def nll(log_odds: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy in nats, from the log-odds, which no rounding of a probability to 0 or 1 makes infinite."""
    if not len(labels):
        return float("nan")
    towards = np.where(labels == 1, log_odds, -log_odds).astype(np.float64)
    return float(np.logaddexp(0, -towards).mean())
