"""Area under the robustness curve; NaN without the distances of a minimum-norm attack."""

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric
from robustbench_aigen.metrics.robustness_curve import weighted_mean
from robustbench_aigen.metrics.weighted import Floats


def _resampled(radii: Floats, labels: NDArray[np.int64], weights: NDArray[np.float32]) -> Floats:
    del labels
    return weighted_mean(radii, weights)


@metric("curve_area", title="Area", needs="radii", gated=True, resampled=_resampled, optional=True)
def curve_area(radii: Floats, labels: NDArray[np.integer]) -> float:
    """Return the mean of the distances as shares of the attack's eps, at most 1: the mean accuracy over all eps."""
    del labels
    return float(radii.mean()) if len(radii) else float("nan")
