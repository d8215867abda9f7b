"""Stability of verdicts and scores over deliveries: the clean image and its processed versions."""

from typing import NamedTuple

import numpy as np

from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table


class _Stability(NamedTuple):
    """What the deliveries of the images of a detector differ in."""

    deliveries: int
    images: int
    depending: int
    flips: dict[str, float]
    span: float


@table(order=34)
def stability(runs: JoinedRuns) -> Table | None:
    """Return a row per detector: how far verdict and score depend on the delivery; None without processing or records.

    A delivery is a pipeline of perturbations alone. Every pipeline counts once, also those of a sweep.
    """
    rows, overall = [], runs.overall()
    for detector in overall["detector"].unique():
        own = overall[overall["detector"] == detector]
        deliveries = [
            row.pipeline
            for row in own.itertuples()
            if row.stages and all("perturb" in stage for stage in row.stages)
        ]
        found = _stability(runs, detector, deliveries)
        if found is not None:
            rows.append(_row(detector, found))
    if not rows:
        return None
    columns = (
        Column(DETECTOR), Column("deliveries", 0), Column("images", 0), Column("verdict depends", 1), Column("95 % CI"),
        Column("mean flips", 1), Column("most flips", 1), Column("by"), Column("median span", 3),
    )  # fmt: skip
    caption = (
        "Verdicts of the same images clean and in each delivery, in per cent of the images. Verdict depends: the verdicts "
        "of an image are not all equal. Flips: the verdict differs from the clean verdict, in the mean over deliveries "
        f"and in the delivery with the most. Span: largest minus smallest score of an image. {conditions(runs)}."
    )
    return Table("stability", "Stability over deliveries", caption, columns, tuple(rows))


def _stability(runs: JoinedRuns, detector: str, deliveries: list[str]) -> _Stability | None:
    clean = runs.cell(detector, CLEAN) if deliveries else None
    if clean is None:
        return None
    first = clean["log_odds"].to_numpy() >= clean["threshold_log_odds"].to_numpy()
    low = high = clean["score"].to_numpy(float)
    depends = np.zeros(len(first), dtype=bool)
    flips = {}
    for pipeline in deliveries:
        # One cell at a time: a run may have millions of records.
        cell = runs.cell(detector, pipeline)
        if cell is None or len(cell) != len(first):
            continue
        flipped = (cell["log_odds"].to_numpy() >= cell["threshold_log_odds"].to_numpy()) != first
        score = cell["score"].to_numpy(float)
        low, high, depends = np.minimum(low, score), np.maximum(high, score), depends | flipped
        flips[pipeline] = float(flipped.mean())
    if not flips:
        return None
    return _Stability(len(flips), len(first), int(depends.sum()), flips, float(np.median(high - low)))


def _row(detector: str, found: _Stability) -> tuple[TableCell, ...]:
    interval = wilson_interval(found.depending, found.images)
    most = max(found.flips, key=found.flips.__getitem__)
    return (
        TableCell(detector),
        TableCell(found.deliveries),
        TableCell(found.images),
        TableCell(100 * found.depending / found.images),
        TableCell(f"{percent(interval.low)}–{percent(interval.high)}"),
        TableCell(100 * sum(found.flips.values()) / len(found.flips)),
        TableCell(100 * found.flips[most]),
        TableCell(most),
        TableCell(found.span),
    )
