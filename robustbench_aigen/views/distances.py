"""The cells of runs whose records have the distances of a minimum-norm attack."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.metrics.robustness_curve import has_distances, limit_of
from robustbench_aigen.runs.joined import JoinedRuns


class MeasuredCell(NamedTuple):
    """Detector, pipeline, the norm of its attack, and its records."""

    detector: str
    pipeline: str
    norm: str
    records: pd.DataFrame

    @property
    def limit(self) -> float:
        """The eps of the attack."""
        return limit_of(self.records)

    def text(self, distance: float) -> str:
        """Return a distance as text, L∞ in 255ths; ``>`` and the limit where it is infinite, empty for NaN."""
        if math.isnan(distance):
            return ""
        if math.isinf(distance):
            return f">{self.text(self.limit)}"
        return f"{255 * distance:.3g}/255" if self.norm == "linf" else f"{distance:.3g}"


def measured_cells(runs: JoinedRuns) -> Iterator[MeasuredCell]:
    """Yield the cells with distances, one in memory at a time: a run may have millions of records."""
    norms = {
        pipeline.name: str(pipeline.stages[-1].get("norm", ""))
        for run in runs.runs
        for pipeline in run.info.pipelines
        if pipeline.stages
    }
    overall = runs.overall()
    for detector, pipeline in dict.fromkeys(zip(overall["detector"], overall["pipeline"], strict=True)):
        cell = runs.cell(detector, pipeline)
        if cell is not None and has_distances(cell):
            yield MeasuredCell(detector, pipeline, norms[pipeline], cell)
