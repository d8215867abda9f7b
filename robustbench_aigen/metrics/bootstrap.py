"""Bootstrap over source images: rows of the same file are drawn together (Field and Welsh 2007)."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

SEED = 20_250_101
"""Seed of all resampling: equal records give equal intervals."""
DRAWS = 10_000
"""Resamples of counts, which are cheap."""
SCORE_DRAWS = 1_000
"""Resamples of scores."""
_BLOCK = 2**18
"""Number of weights in memory at a time."""

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


def clusters_of(images: NDArray[np.object_] | NDArray[np.int64]) -> Codes | None:
    """Return which of 0…C−1 source images every row is of; None if no image has two rows.

    Parameters
    ----------
    images
        N hashes of source images; empty ones are unknown, and their rows are images of their own. Or N whole numbers,
        equal for equal images.
    """
    if images.dtype.kind in "iu":
        if (images[1:] > images[:-1]).all():
            return None
        numbers, codes = np.unique(images, return_inverse=True)
        return None if len(numbers) == len(images) else codes.astype(np.intp)
    found, codes = np.unique(images.astype(str), return_inverse=True)
    codes = codes.astype(np.intp)
    if len(found) and not found[0]:
        unknown = codes == 0
        codes[unknown] = len(found) + np.arange(unknown.sum())
        found, codes = np.unique(codes, return_inverse=True)
    return None if len(found) == len(images) else codes


def cluster_sums(values: Floats, clusters: Codes | None) -> Floats:
    """Return the column sums of N×K values by cluster, C×K; the values where every row is its own cluster."""
    if clusters is None:
        return values
    return np.stack([np.bincount(clusters, weights=column) for column in values.T], axis=1)


def resampled_sums(
    values: Floats, clusters: Codes | None = None, draws: int = DRAWS, seed: int = SEED
) -> Floats:
    """Return the column sums of resamples, D×K.

    Clusters with equal sums are of one kind, and a resample is one multinomial draw of how many of each kind: the
    same distribution as drawing clusters one by one, at a fraction of the cost.

    Parameters
    ----------
    values
        N×K numbers, few different rows.
    clusters
        N codes (:func:`clusters_of`).
    draws
        D.
    seed
        Another one makes resamples independent of those of other images.
    """
    kinds, counts = np.unique(cluster_sums(values, clusters), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    return rng.multinomial(counts.sum(), counts / counts.sum(), size=draws) @ kinds


def resampled_weights(
    count: int, clusters: Codes | None = None, draws: int = SCORE_DRAWS, seed: int = SEED
) -> Iterator[NDArray[np.float32]]:
    """Yield the weights of ``count`` rows in resamples, as blocks of B×N float32 with ``draws`` rows in all."""
    rng = np.random.default_rng(seed)
    units = count if clusters is None else int(clusters.max()) + 1
    size = max(1, _BLOCK // count)
    for first in range(0, draws, size):
        rows = min(size, draws - first)
        drawn = rng.integers(0, units, (rows, units)) + units * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float32)
        yield weights if clusters is None else weights[:, clusters]


def percentile_interval(values: Floats, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resampled values, draws without a value left out; NaN where none has one."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def weighted_values(
    function: Callable[[NDArray[np.float32]], Floats],
    count: int,
    clusters: Codes | None = None,
    draws: int = SCORE_DRAWS,
    seed: int = SEED,
) -> Floats:
    """Return a statistic of every resample, D numbers; ``function`` takes weights B×N and returns B numbers."""
    return np.concatenate([function(weights) for weights in resampled_weights(count, clusters, draws, seed)])
