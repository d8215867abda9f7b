"""Tests on paired verdicts, and the correction for several tests."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc

from robustbench_aigen.metrics.bootstrap import Codes, cluster_sums
from robustbench_aigen.metrics.tail_tests import binomial_tail

Alternative = Literal["two-sided", "greater"]


def mcnemar_p_value(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    alternative: Alternative = "two-sided",
    clusters: Codes | None = None,
) -> float:
    """Return the p-value of the exact McNemar test (McNemar 1947): no change in accuracy.

    If a source image has several rows, their signs are flipped together: the exact sign-flip test on the sums
    by image, which is McNemar's where every image has one row.

    Parameters
    ----------
    before, after
        N verdicts each on the same images. Where no image changed the p-value is 1; NaN for N = 0.
    alternative
        ``greater``: more was right before.
    clusters
        N codes of the rows' source images; None where each is its own.
    """
    if len(before) == 0:
        return float("nan")
    change = before.astype(float) - after.astype(float)
    changes = np.rint(cluster_sums(change[:, None], clusters)[:, 0]).astype(int)
    greater = _sign_flip(changes)
    if alternative == "greater":
        return greater
    # The distribution under the null hypothesis is symmetric.
    return min(1.0, 2 * min(greater, _sign_flip(-changes)))


def mcnemar_p_values(first_alone: ArrayLike, second_alone: ArrayLike) -> NDArray[np.float64]:
    """Return two-sided p-values of the exact McNemar test from counts; 1 where no image differs.

    Parameters
    ----------
    first_alone, second_alone
        Arrays of one shape: numbers of images that only the first, and only the second, judges right. Every image
        is a source image of its own.
    """
    first, second = np.asarray(first_alone, dtype=float), np.asarray(second_alone, dtype=float)
    larger = np.maximum(first, second)
    # The binomial tail of :func:`binomial_tail`, for whole arrays; its first argument may not be 0.
    tail = betainc(np.maximum(larger, 1), first + second - larger + 1, 0.5)
    p_values: NDArray[np.float64] = np.where(larger > 0, np.minimum(1.0, 2 * tail), 1.0)
    return p_values


def _sign_flip(changes: NDArray[np.int_]) -> float:
    """Return the exact probability that random signs make the sum of whole numbers at least as large."""
    sizes, counts = np.unique(np.abs(changes[changes != 0]), return_counts=True)
    observed = int(changes[changes > 0].sum())
    if not len(sizes) or observed == 0:
        return 1.0
    if len(sizes) == 1:
        return binomial_tail(observed // int(sizes[0]), int(counts[0]))
    from scipy.stats import binom  # Heavy, and seldom needed: source images with several rows.

    # The positive part of the sum: a sum of independent multiples of binomial numbers.
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        part = np.zeros(size * count + 1)
        part[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, part)
    return float(min(1.0, chances[observed:].sum()))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted for being one of a table's (Holm 1979); NaN, where nothing was tested, stays."""
    given = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted = given.copy()
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
