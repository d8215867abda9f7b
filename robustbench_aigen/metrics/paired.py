"""Tests on paired verdicts."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


def mcnemar_p_value(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947): no change in accuracy.

    Parameters
    ----------
    before, after
        N verdicts each on the same images. Where no image changed the p-value is 1; NaN for N = 0.
    """
    if len(before) == 0:
        return float("nan")
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(lost, lost + won, 0.5).pvalue) if lost + won else 1.0
