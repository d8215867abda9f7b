"""Accuracy by area: how much of an image a mask lets change, or how much of it is generated."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table


class _Area(NamedTuple):
    """A column of the records with areas, and its name in the table."""

    column: str
    title: str


_AREAS = (_Area("masked_area", "may change"), _Area("generated_area", "is generated"))
_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Bounds of the classes of areas, as shares; the upper bound is included."""


@table(order=35)
def accuracy_by_area(runs: JoinedRuns) -> Table | None:
    """Return the accuracy by the share of the image that a mask lets change or that is generated.

    A row per detector, pipeline and class of areas; None where no record has an area.
    """
    found: dict[_Area, list[tuple[TableCell, ...]]] = {kind: [] for kind in _AREAS}
    overall = runs.overall()
    for detector, pipeline in dict.fromkeys(zip(overall["detector"], overall["pipeline"], strict=True)):
        cell = runs.cell(detector, pipeline)  # One cell at a time: a run may have millions of records.
        if cell is not None:
            for kind in _AREAS:
                if kind.column in cell:
                    found[kind] += _rows(detector, pipeline, cell, kind)
    rows = [row for each in found.values() for row in each]
    if not rows:
        return None
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("part"),
        Column("area"),
        Column("images", 0),
        Column("accuracy", 1),
        Column("95 % CI"),
    )
    caption = (
        "Accuracy in per cent by the share of the image that a mask lets the pipeline change, or that is generated in "
        f"a photograph; an area of 0 is a photograph without a region. {conditions(runs)}."
    )
    return Table("accuracy_by_area", "Accuracy by area", caption, columns, tuple(rows))


def _rows(detector: str, pipeline: str, cell: pd.DataFrame, kind: _Area) -> list[tuple[TableCell, ...]]:
    areas = cell[kind.column].to_numpy(float)
    known = np.isfinite(areas)
    classes, right = np.searchsorted(_EDGES, areas[known].round(6)), cell["correct"].to_numpy(bool)[known]
    rows: list[tuple[TableCell, ...]] = []
    for number in np.unique(classes):
        count, hits = int((classes == number).sum()), int(right[classes == number].sum())
        interval = wilson_interval(hits, count)
        low = _EDGES[number - 1] if number else 0.0
        area = "0 %" if number == 0 else f"{100 * low:g}–{100 * _EDGES[number]:g} %"
        rows.append(
            (
                TableCell(detector),
                TableCell(pipeline),
                TableCell(kind.title),
                TableCell(area),
                TableCell(count),
                TableCell(100 * hits / count),
                TableCell(f"{percent(interval.low)}–{percent(interval.high)}"),
            )
        )
    return rows
