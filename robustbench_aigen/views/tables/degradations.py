"""GenImage's table of degradations: accuracy at low resolution, after JPEG and after blur."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, table, with_best

DEGRADATIONS: Mapping[str, tuple[str, str, float]] = {
    "LR 112": ("resize_to", "side", 112),
    "LR 64": ("resize_to", "side", 64),
    "JPEG 65": ("jpeg", "quality", 65),
    "JPEG 30": ("jpeg", "quality", 30),
    "blur 3": ("gaussian_blur", "sigma", 3),
    "blur 5": ("gaussian_blur", "sigma", 5),
}
"""Columns of GenImage (Zhu et al. 2023, arXiv:2306.08571, table 5): perturbation, parameter and its value."""


def degradation_of(stages: list[dict[str, Any]]) -> str | None:
    """Return the degradation of GenImage that a pipeline applies; None for others and for several."""
    if len(stages) != 1 or stages[0].get("repeats", 1) != 1:
        return None
    for title, (perturbation, parameter, value) in DEGRADATIONS.items():
        if stages[0].get("perturb") == perturbation and stages[0].get(parameter) == value:
            return title
    return None


@table(order=40)
def degradations(runs: JoinedRuns) -> Table | None:
    """Return GenImage's table of degradations."""
    return degradation_table(runs.summary, conditions(runs))


def degradation_table(summary: pd.DataFrame, measured: str = "") -> Table | None:
    """Return a row per detector with GenImage's columns; None where a run has none of them.

    The average is over the six; empty where one of them was not run.
    """
    rows = summary[summary["generator"] == ALL_GENERATORS]
    found: dict[str, dict[str, float]] = {name: {} for name in rows["detector"].unique()}
    for row in rows.itertuples():
        title = degradation_of(row.stages)
        if title is not None:
            found[row.detector][title] = 100 * row.accuracy
    if not any(found.values()):
        return None
    content = tuple(
        (
            TableCell(detector),
            *(TableCell(values.get(title, math.nan)) for title in DEGRADATIONS),
            TableCell(
                sum(values.values()) / len(DEGRADATIONS) if len(values) == len(DEGRADATIONS) else math.nan
            ),
        )
        for detector, values in found.items()
        if values
    )
    titles = (*DEGRADATIONS, "average")
    columns = (Column(DETECTOR), *(Column(title, 1, compared=True) for title in titles))
    caption = (
        "Accuracy in per cent on images with the degradations of GenImage: shorter side 112 and 64 pixels (LR), JPEG "
        f"quality 65 and 30, Gaussian blur of sigma 3 and 5 pixels. {measured}{'.' if measured else ''}"
    ).strip()
    return with_best(Table("degradations", "GenImage's degradations", caption, columns, content))
