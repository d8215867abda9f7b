"""Paired comparison of the detectors of one run, image by image."""

from itertools import combinations

import pandas as pd

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


def between_detectors(records: pd.DataFrame) -> pd.DataFrame:
    """Compare the accuracy of every two detectors under every pipeline, on the same images.

    Parameters
    ----------
    records
        Records of a run: every cell has the same images in the same order.

    Returns
    -------
    DataFrame
        ``pipeline, detector, other, n, accuracy, other_accuracy, difference`` (the first minus the other) with its
        95 % interval ``low, high`` (paired bootstrap over source images), ``p_value`` (McNemar, exact) and ``p_holm``,
        corrected for the whole table; empty where the run has one detector.
    """
    rows = []
    for pipeline, part in records.groupby("pipeline", sort=False, observed=True):
        cells = dict(iter(part.groupby("detector", sort=False, observed=True)))
        for first, second in combinations(cells, 2):
            one, other = (cells[name]["correct"].to_numpy(bool) for name in (first, second))
            clusters = clusters_of(cells[first]["sha256"].to_numpy())
            interval = paired_drop_interval(one, other, clusters=clusters)
            p_value = mcnemar_p_value(one, other, clusters=clusters)
            accuracy = one.mean(), other.mean(), one.mean() - other.mean()
            rows.append([pipeline, first, second, len(one), *accuracy, *interval, p_value])
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(p_holm=holm(table["p_value"]))
