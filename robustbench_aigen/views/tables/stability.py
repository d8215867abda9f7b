"""Stability of verdicts and scores over deliveries: the clean image and its processed versions."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.runs.run import Run
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
    parts: list[tuple[Run, pd.DataFrame]] = []
    flips: dict[str, float] = {}
    for run, labels in zip(runs.runs, runs.detectors, strict=True):
        names = [name for name, label in labels.items() if label == detector]
        here = [pipeline for pipeline in deliveries if pipeline in run.pipelines]
        if names and here and run.has_records:
            frame, own = _of_run(run, names[0], here)
            parts.append((run, frame))
            flips |= own
    if not parts:
        return None
    frame = parts[0][1]
    if len(parts) > 1:
        # Runs may have the same images in another order.
        named = [part.set_axis(run.cells.images()["sample"]) for run, part in parts]
        frame = pd.concat(named).groupby(level=0).agg({"low": "min", "high": "max", "depends": "any"})
    span = float((frame["high"] - frame["low"]).median())
    return _Stability(len(flips), len(frame), int(frame["depends"].sum()), flips, span)


def _of_run(run: Run, name: str, deliveries: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return smallest and largest score of each image and whether its verdicts differ, and the flips by delivery."""
    clean = run.cells.cell(name, CLEAN)
    first = _is_fake(clean)
    low = high = clean["score"].to_numpy(float)
    depends, flips = np.zeros(len(first), dtype=bool), {}
    for pipeline in deliveries:
        # One cell at a time: a run may have millions of records.
        cell = run.cells.cell(name, pipeline)
        flipped, score = _is_fake(cell) != first, cell["score"].to_numpy(float)
        low, high, depends = np.minimum(low, score), np.maximum(high, score), depends | flipped
        flips[pipeline] = float(flipped.mean())
    return pd.DataFrame({"low": low, "high": high, "depends": depends}), flips


def _is_fake(cell: pd.DataFrame) -> NDArray[np.bool_]:
    verdicts: NDArray[np.bool_] = cell["log_odds"].to_numpy() >= cell["threshold_log_odds"].to_numpy()
    return verdicts


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
