"""The summary of a report: lowest accuracies per detector and threat model, as in RobustBench."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.trust.check import flags
from robustbench_aigen.views.conditions import conditions, threat_models, write_threat_model
from robustbench_aigen.views.table import (
    DETECTOR,
    Column,
    Table,
    TableCell,
    explanations,
    percent,
    table,
    with_best,
    without_empty_columns,
)

_OTHER = "other attacks"
_NONE = "no attack"


class _Worst(NamedTuple):
    """The lowest accuracy of some pipelines, whose it is, and its interval."""

    accuracy: float
    pipeline: str
    interval: str


@table(order=10)
def summary(runs: JoinedRuns) -> Table:
    """Return the accuracy of each detector, clean and in the worst case."""
    return leaderboard(runs, conditions(runs))


def leaderboard(joined: JoinedRuns, measured: str = "") -> Table:
    """Return a row per detector and threat model.

    ``robust`` is the accuracy under the attack that leaves least; ``degraded`` under the processing that leaves least;
    ``lowest`` in the condition of imported scores that leaves least; ``in all`` the share of images that are right clean, under every attack of the threat model and every
    processing. That needs records. What no row has is left out, and so is its explanation.
    """
    rows = joined.overall()
    columns = (
        Column(DETECTOR),
        Column("architecture"),
        Column("threat model"),
        Column("clean", 1, compared=True),
        Column("robust", 1, compared=True),
        Column("95 % CI"),
        Column("strongest attack"),
        Column("degraded", 1, compared=True),
        Column("strongest processing"),
        Column("lowest", 1, compared=True),
        Column("in condition"),
        Column("in all", 1, compared=True),
        Column("trust"),
    )
    content = []
    for detector, mine in rows.groupby("detector", sort=False):
        models = {row.pipeline: _threat_model(row.stages) for row in mine.itertuples()}
        # Imported scores do not say whether their conditions are attacks or processing.
        named = {row.pipeline for row in mine.itertuples() if any("condition" in each for each in row.stages)}
        imported = mine[mine["pipeline"].isin(named)]
        processed = mine[[models[name] == _NONE and name not in named | {CLEAN} for name in mine["pipeline"]]]
        clean = mine[mine["pipeline"] == CLEAN]
        for model in list(dict.fromkeys(m for m in models.values() if m != _NONE)) or [_NONE]:
            attacked = mine[[models[name] == model and name != CLEAN for name in mine["pipeline"]]]
            attacked = attacked if model != _NONE else attacked.iloc[:0]
            robust, degraded, lowest = _worst(attacked), _worst(processed), _worst(imported)
            together = [CLEAN, *attacked["pipeline"], *processed["pipeline"], *imported["pipeline"]]
            content.append(
                (
                    TableCell(str(detector)),
                    TableCell(str(joined.info_of(str(detector)).architecture)),
                    TableCell("" if named else model),
                    TableCell(100 * float(clean["accuracy"].iloc[0])),
                    TableCell(robust.accuracy),
                    TableCell(robust.interval),
                    TableCell(robust.pipeline),
                    TableCell(degraded.accuracy),
                    TableCell(degraded.pipeline),
                    TableCell(lowest.accuracy),
                    TableCell(lowest.pipeline),
                    TableCell(100 * joined.right_in_all(str(detector), together)),
                    TableCell(
                        _flags([*clean["trust"], *attacked["trust"], *processed["trust"], *imported["trust"]])
                    ),
                )
            )
    shown = Table("summary", "Summary", "", columns, tuple(content))
    shown = without_empty_columns(with_best(shown, within=(2,)))
    meanings = explanations(shown, _MEANINGS)
    explained = f" {meanings[0].upper()}{meanings[1:]}." if meanings else ""
    caption = f"Accuracy of each detector, in per cent of all images.{explained} {measured}"
    return replace(shown, caption=f"{caption}{'.' if measured else ''}".strip())


_MEANINGS = {
    "robust": "robust: lowest accuracy under attacks",
    "degraded": "degraded: lowest accuracy under processing",
    "lowest": "lowest: lowest accuracy in a condition of imported scores, attack or processing",
    "in all": "in all: share of images right clean, under every attack of the threat model and under every processing",
}


def _threat_model(stages: Sequence[Mapping[str, Any]]) -> str:
    if not any("attack" in stage for stage in stages):
        return _NONE
    models = threat_models([stages])
    texts = [write_threat_model(norm, eps) for norm, values in models.items() for eps in values]
    return " + ".join(texts) or _OTHER


def _worst(rows: pd.DataFrame) -> _Worst:
    if rows.empty:
        return _Worst(math.nan, "", "")
    row = rows.loc[rows["accuracy"].idxmin()]
    interval = f"{percent(row['ci_low'])}–{percent(row['ci_high'])}"
    return _Worst(100 * float(row["accuracy"]), str(row["pipeline"]), interval)


def _flags(trust: Iterable[str]) -> str:
    raised = {flag for text in trust for flag in text.split()} - {"ok"}
    order = [flag.name for flag in flags()]
    return (
        " ".join(sorted(raised, key=lambda flag: (order.index(flag) if flag in order else 99, flag))) or "ok"
    )
