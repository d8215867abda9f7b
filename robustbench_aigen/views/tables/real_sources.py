"""Specificity on each source of photographs."""

import pandas as pd

from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table, with_best


@table(order=65)
def real_sources(runs: JoinedRuns) -> Table | None:
    """Return a row per pipeline, detector and source of real images: the share judged real.

    None unless the real images have at least two sources: the folders or names that the records call ``generator``.
    """
    rows, overall = [], runs.overall()
    for pipeline in overall["pipeline"].unique():
        for detector in overall.loc[overall["pipeline"] == pipeline, "detector"]:
            cell = runs.cell(detector, pipeline)
            if cell is not None:
                rows += _rows(pipeline, detector, cell[cell["label"] == 0])
    if len({row[2].value for row in rows}) < 2:
        return None
    columns = (
        Column("pipeline"), Column(DETECTOR), Column("real images"), Column("n", 0), Column("TNR", 1, compared=True),
        Column("95 % CI"),
    )  # fmt: skip
    caption = (
        "Share of the real images of each source that are judged real, in per cent, with Wilson's 95 % interval. "
        f"{conditions(runs)}."
    )
    found = Table("real_sources", "Specificity by source of the real images", caption, columns, tuple(rows))
    return with_best(found, within=(0, 2))


def _rows(pipeline: str, detector: str, reals: pd.DataFrame) -> list[tuple[TableCell, ...]]:
    found: list[tuple[TableCell, ...]] = []
    for source, part in reals.groupby("generator", sort=True, observed=True):
        right, count = int(part["correct"].sum()), len(part)
        interval = wilson_interval(right, count)
        found.append(
            (
                TableCell(pipeline), TableCell(detector), TableCell(str(source)), TableCell(count),
                TableCell(100 * right / count), TableCell(f"{percent(interval.low)}–{percent(interval.high)}"),
            )
        )  # fmt: skip
    return found
