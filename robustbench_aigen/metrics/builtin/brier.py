"""Brier score; NaN without images."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric


@metric("brier", title="Brier", needs="scores", optional=True)
def brier(score: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Return the mean squared difference of the probability of *fake* and the label (Brier 1950)."""
    return float(np.square(score - (labels == 1)).mean()) if len(labels) else float("nan")
