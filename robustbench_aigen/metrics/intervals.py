"""95 % intervals: Wilson's for rates, the bootstrap over source images for differences and for AUROC."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from robustbench_aigen.metrics.bootstrap import (
    DRAWS,
    SCORE_DRAWS,
    Codes,
    percentile_interval,
    resampled_sums,
    weighted_values,
)
from robustbench_aigen.metrics.weighted import score_metric


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
    z = float(ndtri(0.5 + confidence / 2))
    rate = successes / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    # Exact at the ends, where round-off would leave 1e-17 and 1 − 1e-17.
    return Interval(
        0.0 if successes == 0 else float(centre - half), 1.0 if successes == count else float(centre + half)
    )


def paired_drop_interval(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    confidence: float = 0.95,
    draws: int = DRAWS,
    clusters: Codes | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of ``mean(before) − mean(after)`` on the same images.

    Images are resampled in pairs (Efron and Tibshirani 1993, chapter 13), together with all rows of the same source
    image where there are several: one image in several cells is one observation.

    Parameters
    ----------
    before, after
        N verdicts each, whether row i was right.
    confidence
        Nominal coverage.
    draws
        Resamples; the generator is seeded, so equal input gives equal output.
    clusters
        N codes of the rows' source images; None where each is its own.
    """
    if len(before) == 0:
        return Interval(np.nan, np.nan)
    values = np.stack([before.astype(float) - after.astype(float), np.ones(len(before))], axis=1)
    sums = resampled_sums(values, clusters, draws)
    return Interval(*percentile_interval(sums[:, 0] / sums[:, 1], confidence))


def auroc_interval(
    labels: NDArray[np.int64],
    log_odds: NDArray[np.floating],
    confidence: float = 0.95,
    draws: int = SCORE_DRAWS,
    clusters: Codes | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of the AUROC of N log-odds; NaN where a class is missing.

    Above 50,000 images, each its own source image, the interval is the normal one with DeLong's standard error (DeLong
    et al. 1988), which the bootstrap approaches and which takes seconds for a million.
    """
    if len(np.unique(labels)) < 2:
        return Interval(np.nan, np.nan)
    if clusters is None and len(labels) > _MOST_RESAMPLED:
        return _delong_interval(labels, log_odds, confidence)

    def auroc(weights: NDArray[np.float32]) -> NDArray[np.float64]:
        return score_metric("auroc", log_odds, labels, weights)

    return Interval(*percentile_interval(weighted_values(auroc, len(labels), clusters, draws), confidence))


_MOST_RESAMPLED = 50_000
"""Images above which an AUROC is not resampled."""


def _delong_interval(
    labels: NDArray[np.int64], log_odds: NDArray[np.floating], confidence: float
) -> Interval:
    fake, real = (np.sort(log_odds[labels == label]) for label in (1, 0))
    # The share of the other class below each score; ties count half.
    below, above = (
        (np.searchsorted(other, own, "left") + np.searchsorted(other, own, "right")) / (2 * len(other))
        for own, other in ((fake, real), (real, fake))
    )
    auroc = below.mean()
    error = np.sqrt(below.var(ddof=1) / len(fake) + above.var(ddof=1) / len(real))
    reach = float(ndtri(0.5 + confidence / 2) * error)
    return Interval(float(max(0.0, auroc - reach)), float(min(1.0, auroc + reach)))
