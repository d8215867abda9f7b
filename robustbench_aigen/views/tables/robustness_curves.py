"""Robustness curves in numbers: area under each curve, and median distance by generator."""

import pandas as pd

from robustbench_aigen.metrics.robustness_curve import (
    area_interval,
    median_distance,
    median_interval,
    radii,
)
from robustbench_aigen.metrics.summary import by_generator
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.distances import MeasuredCell, measured_cells
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table


@table(order=33)
def robustness_curves(runs: JoinedRuns) -> Table | None:
    """Return a row per detector, minimum-norm attack and generator; None without a minimum-norm attack."""
    rows = [
        _row(cell, generator, part)
        for cell in measured_cells(runs)
        for generator, part in by_generator(cell.records)
    ]
    if not rows:
        return None
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("generator"),
        Column("images", 0),
        Column("area", 1),
        Column("area, 95 % CI"),
        Column("median distance"),
        Column("median, 95 % CI"),
        Column("eps"),
    )
    caption = (
        "Area under the accuracy over eps, from 0 to the eps of the attack, in per cent of the largest. The median "
        "distance is that of images which are right without an attack, in the unit of eps (L∞ in 255ths); '>' is a "
        f"median beyond eps. Intervals are bootstrapped over source images. {conditions(runs)}."
    )
    return Table("robustness_curves", "Robustness curves", caption, columns, tuple(rows))


def _row(cell: MeasuredCell, generator: str, part: pd.DataFrame) -> tuple[TableCell, ...]:
    area, median = area_interval(part), median_interval(part)
    return (
        TableCell(cell.detector),
        TableCell(cell.pipeline),
        TableCell(generator),
        TableCell(len(part)),
        TableCell(100 * float(radii(part).mean())),
        TableCell(f"{percent(area.low)}–{percent(area.high)}"),
        TableCell(cell.text(median_distance(part))),
        TableCell(f"{cell.text(median.low)}–{cell.text(median.high)}"),
        TableCell(cell.text(cell.limit)),
    )
