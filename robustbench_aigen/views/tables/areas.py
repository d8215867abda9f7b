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
    """Return the accuracy by the share of the image that a mask lets change or that is generated."""
    return area_table(runs.records, conditions(runs))


def area_table(records: pd.DataFrame, measured: str = "") -> Table | None:
    """Return a row per detector, pipeline and class of areas; None where no record has an area.

    Parameters
    ----------
    records
        Records of runs.
    measured
        The conditions of the measurement, for the caption.
    """
    rows = [row for kind in _AREAS if kind.column in records for row in _rows(records, kind)]
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
        f"a photograph; an area of 0 is a photograph without a region. {measured}{'.' if measured else ''}"
    ).strip()
    return Table("accuracy_by_area", "Accuracy by area", caption, columns, tuple(rows))


def _rows(records: pd.DataFrame, kind: _Area) -> list[tuple[TableCell, ...]]:
    found: list[tuple[TableCell, ...]] = []
    areas = records[kind.column].to_numpy(float)
    known = records[np.isfinite(areas)]
    classes = np.searchsorted(_EDGES, areas[np.isfinite(areas)].round(6))
    cells = known.groupby([known["detector"], known["pipeline"], classes], sort=False, observed=True)
    order = {
        cell: place
        for place, cell in enumerate(dict.fromkeys(zip(known["detector"], known["pipeline"], strict=True)))
    }
    for (detector, pipeline, number), part in sorted(
        cells, key=lambda each: (order[each[0][:2]], each[0][2])
    ):
        right = int(part["correct"].sum())
        interval = wilson_interval(right, len(part))
        low = _EDGES[number - 1] if number else 0.0
        area = "0 %" if number == 0 else f"{100 * low:g}–{100 * _EDGES[number]:g} %"
        found.append(
            (
                TableCell(detector),
                TableCell(pipeline),
                TableCell(kind.title),
                TableCell(area),
                TableCell(len(part)),
                TableCell(100 * right / len(part)),
                TableCell(f"{percent(interval.low)}–{percent(interval.high)}"),
            )
        )
    return found
