"""Paired comparison of the detectors of one run, image by image."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.metrics.bootstrap import clusters_of
from robustbench_aigen.metrics.intervals import paired_drop_interval
from robustbench_aigen.metrics.paired import holm, mcnemar_p_value

_COLUMNS = [
    "pipeline",
    "detector",
    "other",
    "n",
    "accuracy",
    "other_accuracy",
    "difference",
    "low",
    "high",
    "p_value",
]


def between_detectors(
    cells: Sequence[tuple[str, str]], cell: Callable[[str, str], pd.DataFrame]
) -> pd.DataFrame:
    """Compare the accuracy of every two detectors under every pipeline, on the same images.

    Parameters
    ----------
    cells
        Detector and pipeline of each cell of a run.
    cell
        Returns the records of a cell: every cell has the same images in the same order.

    Returns
    -------
    DataFrame
        ``pipeline, detector, other, n, accuracy, other_accuracy, difference`` (the first minus the other) with its
        95 % interval ``low, high`` (paired bootstrap over source images), ``p_value`` (McNemar, exact) and ``p_holm``,
        corrected for the whole table; empty where the run has one detector.
    """
    rows = []
    for pipeline in dict.fromkeys(name for _, name in cells):
        names = [detector for detector, under in cells if under == pipeline]
        right: dict[str, NDArray[np.bool_]] = {}
        clusters = None
        for name in names if len(names) > 1 else []:
            records = cell(name, pipeline)
            right[name] = records["correct"].to_numpy(bool)
            clusters = clusters_of(records["sha256"].to_numpy())
        for first, second in combinations(right, 2):
            one, other = right[first], right[second]
            interval = paired_drop_interval(one, other, clusters=clusters)
            p_value = mcnemar_p_value(one, other, clusters=clusters)
            accuracy = one.mean(), other.mean(), one.mean() - other.mean()
            rows.append([pipeline, first, second, len(one), *accuracy, *interval, p_value])
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(p_holm=holm(table["p_value"]))
