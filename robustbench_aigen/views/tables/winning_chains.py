"""Chains of operations that passed a detector: how many images, after how many queries, and at what quality."""

import math
from collections import Counter

import pandas as pd

from robustbench_aigen.documents.located_yaml import yaml_value
from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, percent, table

_OPERATIONS = 3
"""Most frequent operations that the table names."""


@table(order=36)
def winning_chains(runs: JoinedRuns) -> Table | None:
    """Return a row per detector and pipeline whose attack chose chains of perturbations; None without any."""
    rows, overall = [], runs.overall()
    for detector, pipeline in dict.fromkeys(zip(overall["detector"], overall["pipeline"], strict=True)):
        cell = runs.cell(detector, pipeline)
        if cell is not None and "chain" in cell and (cell["chain"] != "").any():
            rows.append(_row(detector, pipeline, cell))
    if not rows:
        return None
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("attacked", 0),
        Column("passed", 1),
        Column("95 % CI"),
        Column("queries", 0),
        Column("PSNR", 1),
        Column("SSIM", 3),
        Column("operations"),
        Column("least visible chain"),
    )
    caption = (
        "Images that passed after post-processing, in per cent of the attacked images. Queries, PSNR (dB) and SSIM are "
        "medians over the images that passed, SSIM over those on which it was measured. The chains of all images are in "
        f"the column chain of the records. {conditions(runs)}."
    )
    return Table("winning_chains", "Post-processing that passes", caption, columns, tuple(rows))


def _row(detector: str, pipeline: str, cell: pd.DataFrame) -> tuple[TableCell, ...]:
    attacked = cell[cell["attacked"]]
    passed = attacked[~attacked["correct"] & (attacked["chain"] != "")]
    interval = wilson_interval(len(passed), len(attacked))
    names = Counter(str(stage["perturb"]) for chain in passed["chain"] for stage in yaml_value(str(chain)))
    operations = ", ".join(f"{name} ({count})" for name, count in names.most_common(_OPERATIONS))
    least = str(passed.loc[passed["psnr"].idxmax(), "chain"]) if len(passed) else ""
    return (
        TableCell(detector),
        TableCell(pipeline),
        TableCell(len(attacked)),
        TableCell(100 * len(passed) / len(attacked) if len(attacked) else math.nan),
        TableCell(f"{percent(interval.low)}–{percent(interval.high)}"),
        *(TableCell(_median(passed[name])) for name in ("queries", "psnr", "ssim")),
        TableCell(operations),
        TableCell(least),
    )


def _median(values: "pd.Series[float]") -> float:
    return float(values.astype(float).median())
