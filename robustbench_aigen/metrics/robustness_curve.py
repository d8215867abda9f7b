"""The robustness curve: accuracy over eps from the distances of one minimum-norm attack.

An image is right at an eps below its distance. The curve is an upper bound of the robust accuracy at every eps, as any
attack's accuracy is.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.metrics.bootstrap import clusters_of, percentile_interval, weighted_values
from robustbench_aigen.metrics.intervals import Interval

Floats = NDArray[np.float64]


class RobustnessCurve(NamedTuple):
    """Accuracy over eps: K budgets in ascending order from 0 to the limit, and the accuracy at each.

    The accuracy stays the same up to the next budget: the curve is a staircase.
    """

    eps: Floats
    accuracy: Floats


def has_distances(records: pd.DataFrame) -> bool:
    """Whether records have the distances of a minimum-norm attack."""
    return "distance" in records and len(records) > 0 and bool(records["distance_limit"].notna().all())


def limit_of(records: pd.DataFrame) -> float:
    """Return the budget of the attack whose distances the records have, the end of the curve."""
    return float(records["distance_limit"].max())


def robustness_curve(records: pd.DataFrame) -> RobustnessCurve:
    """Return the curve of some records, one point at each distance that occurs."""
    distances = _distances(records)
    eps = np.unique(np.concatenate([[0.0, limit_of(records)], distances[np.isfinite(distances)]]))
    right = len(distances) - np.searchsorted(np.sort(distances), eps, side="right")
    return RobustnessCurve(eps, right / len(distances))


def radii(records: pd.DataFrame) -> Floats:
    """Return the distances as shares of the attack's budget, N numbers in 0…1; NaN without distances.

    An image without a success inside the budget has 1. The mean is the area under the curve.
    """
    if not has_distances(records):
        return np.full(len(records), np.nan)
    return np.minimum(_distances(records) / limit_of(records), 1.0)


def area_interval(records: pd.DataFrame, confidence: float = 0.95) -> Interval:
    """Return the percentile bootstrap interval of the area under the curve, over source images."""
    values = radii(records)
    clusters = clusters_of(records["sha256"].to_numpy())

    def mean(weights: NDArray[np.float32]) -> Floats:
        return weighted_mean(values, weights)

    return Interval(*percentile_interval(weighted_values(mean, len(values), clusters), confidence))


def weighted_mean(values: Floats, weights: NDArray[np.float32]) -> Floats:
    """Return the means of N values under B×N weights."""
    wide = weights.astype(np.float64)
    return (wide @ values) / wide.sum(axis=1)


def median_distance(records: pd.DataFrame) -> float:
    """Return the median distance of the images that are right without an attack; infinite beyond the limit."""
    distances = _distances(records)
    found = np.sort(distances[distances > 0])
    # The lower median: the distance of an image, also where the upper half is infinite.
    return float(found[(len(found) - 1) // 2]) if len(found) else float("nan")


def median_interval(records: pd.DataFrame, confidence: float = 0.95) -> Interval:
    """Return the percentile bootstrap interval of the median distance, over source images."""
    part = records[_distances(records) > 0]
    distances = _distances(part)
    if not len(part):
        return Interval(float("nan"), float("nan"))
    order = np.argsort(distances, kind="stable")

    def medians(weights: NDArray[np.float32]) -> Floats:
        counts = weights[:, order].astype(np.float64).cumsum(axis=1)
        middle = np.floor((counts[:, -1:] - 1) / 2) + 1
        at = np.argmax(counts >= middle, axis=1)
        return distances[order][at]

    values = weighted_values(medians, len(part), clusters_of(part["sha256"].to_numpy()))
    low, high = (1 - confidence) / 2, (1 + confidence) / 2
    # No interpolation, which has no meaning between a distance and infinity.
    return Interval(*(float(np.quantile(values, share, method="nearest")) for share in (low, high)))


def _distances(records: pd.DataFrame) -> Floats:
    return records["distance"].to_numpy(np.float64)
