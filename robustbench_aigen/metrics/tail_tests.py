"""The binomial tail and the test of Mann and Whitney.

The values are those of ``scipy.stats``, bit for bit: importing ``scipy.stats`` takes longer than most commands, and
``scipy.special``, which has the functions behind them, a quarter of that.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, ndtr


def binomial_tail(successes: int, count: int, chance: float = 0.5) -> float:
    """Return the probability of at least ``successes`` successes in ``count`` trials.

    With one half, the p-value of the one-sided sign test.
    """
    if successes <= 0:
        return 1.0
    if successes > count:
        return 0.0
    return float(betainc(successes, count - successes + 1, chance))


class MannWhitney(NamedTuple):
    """The pairs in which the first sample is higher, ties as one half, the p-value of so few, and the ranks of all."""

    statistic: float
    p_value: float
    ranks: NDArray[np.float64]


def mann_whitney_less(one: NDArray[np.float64], other: NDArray[np.float64]) -> MannWhitney:
    """Test whether a sample is lower than another (Mann and Whitney 1947), by the normal approximation.

    Corrected for ties and for continuity. Both samples have a number at least, and none is NaN.
    """
    first, second = len(one), len(other)
    _, codes, ties = np.unique(np.concatenate([one, other]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[codes]
    statistic = ranks[:first].sum() - first * (first + 1) / 2
    total, tied = first + second, ties.astype(np.float64)
    variance = first * second / 12 * ((total + 1) - (tied**3 - tied).sum() / (total * (total - 1)))
    above = first * second - statistic - first * second / 2 - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        z = above / np.sqrt(variance)
    return MannWhitney(float(statistic), float(np.clip(ndtr(-z), 0.0, 1.0)), ranks)
