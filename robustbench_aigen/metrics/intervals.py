"""95 % intervals for rates and for paired differences of rates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


class Interval(NamedTuple):
    """Lower and upper bound, both inclusive."""

    low: float
    high: float


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval for a rate (Wilson 1927); NaN where ``count`` is 0.

    Parameters
    ----------
    successes, count
        Whole numbers, 0 ≤ successes ≤ count.
    confidence
        Nominal coverage.
    """
    if count == 0:
        return Interval(np.nan, np.nan)
    z = float(norm.ppf(0.5 + confidence / 2))
    rate = successes / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    # Exact at the ends, where round-off would leave 1e-17 and 1 − 1e-17.
    return Interval(
        0.0 if successes == 0 else float(centre - half), 1.0 if successes == count else float(centre + half)
    )


def paired_drop_interval(
    before: NDArray[np.bool_], after: NDArray[np.bool_], confidence: float = 0.95, draws: int = 10_000
) -> Interval:
    """Return the percentile bootstrap interval of ``mean(before) − mean(after)`` on the same images.

    Images are resampled in pairs (Efron and Tibshirani 1993, chapter 13). Only four kinds of image exist, so a
    resample is one multinomial draw of their counts, which is the same distribution at a fraction of the cost.

    Parameters
    ----------
    before, after
        N verdicts each, whether image i was right.
    confidence
        Nominal coverage.
    draws
        Resamples; the generator is seeded, so equal input gives equal output.
    """
    count = len(before)
    if count == 0:
        return Interval(np.nan, np.nan)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    shares = [lost / count, won / count, 1 - (lost + won) / count]
    drawn = np.random.default_rng(20_250_101).multinomial(count, shares, size=draws)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / count, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
