"""Matthews' correlation of verdicts and labels; NaN where a class or a verdict is missing."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric


@metric("matthews", title="MCC", needs="verdicts", gated=True, optional=True)
def matthews(verdict: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Return the correlation of two binary variables (Matthews 1975), from −1 to 1."""
    called, fake = verdict == 1, labels == 1
    if called.all() or not called.any() or fake.all() or not fake.any():
        return float("nan")
    return float(np.corrcoef(called, fake)[0, 1])
