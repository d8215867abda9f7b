"""Accuracy under each pipeline: in full, and detectors beside one another."""

from dataclasses import replace

import pandas as pd

from robustbench_aigen.metrics.paired import holm
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.added_columns import added_columns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.significance import STARS_NOTE, stars, write_p
from robustbench_aigen.views.table import (
    DETECTOR,
    Column,
    Table,
    TableCell,
    explanations,
    percent,
    table,
    with_best,
    with_best_of_rows,
    without_empty_columns,
)


@table(order=20)
def accuracy(runs: JoinedRuns) -> Table:
    """Return the metrics of each detector under each pipeline."""
    return accuracy_table(runs.summary, conditions(runs))


@table(order=30)
def pipelines(runs: JoinedRuns) -> Table | None:
    """Return the accuracy of several detectors side by side."""
    several = len(runs.summary["detector"].unique()) > 1
    return pipeline_table(runs.summary, conditions(runs)) if several else None


def accuracy_table(summary: pd.DataFrame, measured: str = "") -> Table:
    """Return one row per detector and pipeline on all images.

    Numbers in per cent, drops in points against the clean images; ``p`` is McNemar's, corrected across the table. A
    column that no row has is left out: ``fooled`` without an attack.

    Parameters
    ----------
    summary
        The summary of one run or of several runs.
    measured
        The conditions of the measurement, for the caption.
    """
    rows = summary[summary["generator"] == ALL_GENERATORS]
    added = added_columns(summary)
    columns = (
        Column(DETECTOR),
        Column("pipeline"),
        Column("accuracy", 1, compared=True),
        Column("95 % CI"),
        Column("drop", 1),
        Column("p"),
        Column("TPR", 1),
        Column("TNR", 1),
        Column("AUROC", 3),
        *(Column(title, 3) for title in added.values()),
        Column("fooled", 1),
        Column("trust"),
    )
    content = [
        (
            TableCell(row.detector),
            TableCell(row.pipeline),
            TableCell(100 * row.accuracy),
            TableCell(f"{percent(row.ci_low)}–{percent(row.ci_high)}"),
            TableCell(100 * row.drop, mark=stars(p_value)),
            TableCell(write_p(p_value)),
            TableCell(100 * row.tpr),
            TableCell(100 * row.tnr),
            TableCell(row.auroc),
            *(TableCell(getattr(row, name)) for name in added),
            TableCell(100 * row.attack_success),
            TableCell(row.trust),
        )
        for row, p_value in zip(rows.itertuples(), holm(rows["p_value"]), strict=True)
    ]
    shown = Table("accuracy", "Accuracy under each pipeline", "", columns, tuple(content), (STARS_NOTE,))
    shown = without_empty_columns(with_best(shown, within=(1,)))
    caption = f"Accuracy under each pipeline in per cent of all images, {explanations(shown, _MEANINGS)}."
    return replace(shown, caption=f"{caption} {_sentence(measured)}".strip())


_MEANINGS = {
    "accuracy": "with Wilson's 95 % interval",
    "drop": "drop in points against the clean images",
    "fooled": "fooled: share of the attacked images that were right before",
}


def accuracy_frame(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the table that a run prints: a row per detector and pipeline, text in per cent."""
    return accuracy_table(summary).frame().drop(columns="p", errors="ignore")


def pipeline_table(summary: pd.DataFrame, measured: str = "") -> Table:
    """Return one row per pipeline and one column of accuracies per detector, in per cent."""
    rows = summary[summary["generator"] == ALL_GENERATORS]
    adjusted = pd.Series(holm(rows["p_value"]), index=rows.index)
    detectors, pipelines = list(rows["detector"].unique()), list(rows["pipeline"].unique())
    by_cell = {
        (row.pipeline, row.detector): TableCell(100 * row.accuracy, mark=stars(adjusted[row.Index]))
        for row in rows.itertuples()
    }
    content = tuple(
        (
            TableCell(pipeline),
            *(by_cell.get((pipeline, detector), TableCell(float("nan"))) for detector in detectors),
        )
        for pipeline in pipelines
    )
    columns = (
        Column("pipeline"),
        *(Column(detector, 1, compared=True, is_detector=True) for detector in detectors),
    )
    caption = (
        f"Accuracy of each detector under each pipeline, in per cent; the best in bold. {_sentence(measured)}"
    ).strip()
    shown = Table("pipelines", "Detectors side by side", caption, columns, content, (STARS_NOTE,))
    return with_best_of_rows(shown)


def _sentence(text: str) -> str:
    return f"{text}." if text else ""
