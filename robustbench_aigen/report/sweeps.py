"""Finds the curves in a summary: pipelines of one name that differ in one number."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.scenario.cells import CLEAN

_IN_LEVELS = {"eps", "sigma", "step_size"}
"""Parameters in pixel units, drawn in 8-bit levels."""
_CLEAN_AT_ZERO = {"eps", "sigma"}
"""Parameters whose value 0 is the clean image."""


@dataclass(frozen=True)
class Curve:
    """Accuracy over one swept number.

    Parameters
    ----------
    pipeline
        The pipeline's name without its brackets.
    variant
        What else varies, as text; empty where nothing does.
    parameter
        Name of the swept number, with its unit.
    points
        ``x, detector, accuracy, ci_low, ci_high``, the clean images at 0 where that is what 0 means.
    """

    pipeline: str
    variant: str
    parameter: str
    points: pd.DataFrame


def find_curves(summary: pd.DataFrame) -> list[Curve]:
    """Return the curves of a run, in the order of its pipelines; each has three points or more."""
    rows = summary[summary["generator"] == ALL_GENERATORS]
    clean = rows[rows["pipeline"] == CLEAN]
    swept = rows[rows["pipeline"].str.contains("[", regex=False)]
    curves: list[Curve] = []
    for base, family in swept.groupby(swept["pipeline"].str.split("[", regex=False).str[0], sort=False):
        params = pd.DataFrame([_flat(text) for text in family["stage_params"]], index=family.index)
        varying = [
            column
            for column in params
            if len(params[column].astype(str).unique()) > 1 and "step_size" not in column
        ]
        # A severity stands for the parameters that it sets.
        numbers = [column for column in varying if column.endswith(".severity")]
        numbers = numbers or [column for column in varying if pd.api.types.is_numeric_dtype(params[column])]
        if len(numbers) != 1:
            continue
        others = [column for column in varying if not pd.api.types.is_numeric_dtype(params[column])]
        keys = (
            params[others].astype(str).agg(", ".join, axis=1) if others else pd.Series("", index=family.index)
        )
        for variant, members in family.groupby(keys, sort=False):
            curve = _curve(
                str(base), str(variant), numbers[0], params.loc[members.index, numbers[0]], members, clean
            )
            if len(curve.points["x"].unique()) >= 3:
                curves.append(curve)
    return curves


def _curve(
    base: str,
    variant: str,
    column: str,
    values: "pd.Series[float]",
    members: pd.DataFrame,
    clean: pd.DataFrame,
) -> Curve:
    name = column.rsplit(".", maxsplit=1)[-1]
    scale = 255 if name in _IN_LEVELS and values.max() <= 1 and not _is_l2(members) else 1
    keep = ["detector", "accuracy", "ci_low", "ci_high"]
    points = members[keep].assign(x=values * scale)
    if name in _CLEAN_AT_ZERO:
        points = pd.concat([clean[keep].assign(x=0.0), points])
    unit = " (8-bit levels)" if scale == 255 else " (L2, pixel units)" if name == "eps" else ""
    return Curve(base, variant, name + unit, points.sort_values(["detector", "x"], ignore_index=True))


def _is_l2(members: pd.DataFrame) -> bool:
    return any(stage.get("norm") == "l2" for text in members["stage_params"] for stage in json.loads(text))


def _flat(stage_params: str) -> dict[str, Any]:
    return {
        f"{n}.{name}": value
        for n, stage in enumerate(json.loads(stage_params))
        for name, value in stage.items()
    }
