"""Finds the curves in a summary: pipelines of one name that differ in one number."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.stages.recipe_files import known_recipe

_CLEAN_AT_ZERO = {"eps", "sigma"}
"""Parameters whose value 0 is the clean image."""


@dataclass(frozen=True)
class Curve:
    """Accuracy over one swept number.

    Parameters
    ----------
    pipeline
        The name that the pipelines of the sweep share.
    variant
        The other varying parameters, as text; may be empty.
    parameter
        Name of the swept number, with its unit.
    points
        ``x, detector, accuracy, ci_low, ci_high``, the clean images at 0 where that is what 0 means.
    members
        The names of its pipelines.
    """

    pipeline: str
    variant: str
    parameter: str
    points: pd.DataFrame
    members: frozenset[str]


def find_curves(summary: pd.DataFrame) -> list[Curve]:
    """Return the curves of a run, in the order of its pipelines; each has three points or more.

    Parameters
    ----------
    summary
        With the ``stages`` of each row's pipeline, as :attr:`~robustbench_aigen.runs.joined.JoinedRuns.summary` has them.
    """
    rows = summary[summary["generator"] == ALL_GENERATORS]
    clean = rows[rows["pipeline"] == CLEAN]
    swept = rows[rows["family"] != rows["pipeline"]]
    curves: list[Curve] = []
    for base, family in swept.groupby("family", sort=False):
        params = pd.DataFrame([_flat(stages) for stages in family["stages"]], index=family.index)
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
    is_linf, in_pixels = _kind(members, column)
    scale = 255 if in_pixels and (name != "eps" or is_linf) else 1
    keep = ["detector", "accuracy", "ci_low", "ci_high"]
    points = members[keep].assign(x=values * scale)
    if name in _CLEAN_AT_ZERO:
        points = pd.concat([clean[keep].assign(x=0.0), points])
    unit = " (8-bit levels)" if scale == 255 else " (L2, pixel units)" if in_pixels else ""
    points = points.sort_values("x", kind="stable")
    points = pd.concat([points[points["detector"] == name] for name in members["detector"].unique()])
    return Curve(
        base, variant, name + unit, points.reset_index(drop=True), frozenset(members["pipeline"].unique())
    )


def representatives(summary: pd.DataFrame, most: int) -> list[str]:
    """Return at most ``most`` pipelines that represent all but ``clean``, in the order of the run.

    Of a sweep that is the one that costs the most accuracy, over all detectors. Where that is still too many, attacks
    go before processing, and what costs more before what costs less.
    """
    rows = summary[(summary["generator"] == ALL_GENERATORS) & (summary["pipeline"] != CLEAN)]
    means = rows.groupby("pipeline", sort=False)["accuracy"].mean()
    pipelines = rows.drop_duplicates("pipeline").set_index("pipeline")
    families = means.groupby(pipelines["family"].reindex(means.index), sort=False).idxmin()
    attacked = {name for name, stages in pipelines["stages"].items() if any("attack" in s for s in stages)}
    ranked = sorted(families, key=lambda name: (name not in attacked, means[name]))
    return [name for name in means.index if name in ranked[:most]]


def _kind(members: pd.DataFrame, column: str) -> tuple[bool, bool]:
    """Return whether the stage of a swept parameter is bounded in L∞, and whether the parameter is in pixel units."""
    position, *_, name = column.split(".")
    stage = members["stages"].iloc[0][int(position)]
    named = str(stage.get("attack") or stage.get("perturb"))
    recipe = known_recipe(named)
    # A user's own attack has an eps in pixel units as all have; of other parameters of his nothing is known here.
    kind = recipe.parameters[name].kind if recipe is not None and name in recipe.parameters else None
    is_l0 = stage.get("norm") == "l0"
    return stage.get("norm") == "linf", not is_l0 and (kind == "pixels" or (kind is None and name == "eps"))


def _flat(stages: list[dict[str, Any]], above: str = "") -> dict[str, Any]:
    """Return the parameters of some stages by where they stand: ``0.eps``, ``0.through.0.quality``."""
    flat: dict[str, Any] = {}
    for number, stage in enumerate(stages):
        place = f"{above}{number}."
        for name, value in stage.items():
            flat |= _flat(value, f"{place}through.") if name == "through" else {f"{place}{name}": value}
    return flat
