"""Figures of scores: ROC and precision-recall curves, histograms, confusion matrices."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.numerics.curves import precision_recall_curve, roc_curve
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.figure import Figure as ReportFigure
from robustbench_aigen.views.figure import figure
from robustbench_aigen.views.figures.drawing import (
    FAINT,
    INK,
    LINES,
    MOST_DETECTORS,
    MOST_PIPELINES,
    OF_SWEEPS,
    annotated_heat_map,
    colours,
    first_of,
    plain,
    wrapped,
)
from robustbench_aigen.views.sweeps import representatives

_BINS = np.linspace(0, 1, 26)
_REAL, _FAKE = "#0173b2", "#de8f05"
"""The first two of the colour-blind palette: dark and light in grey as well."""


class _Shown(NamedTuple):
    """The detectors and pipelines of a grid of panels, their rows on all images, and limits for the caption."""

    detectors: list[str]
    pipelines: list[str]
    rows: pd.DataFrame
    limits: str


def _shown(runs: JoinedRuns) -> _Shown:
    rows = runs.overall()
    detectors = list(rows["detector"].unique())
    # Of runs side by side: the pipelines of those detectors that are shown.
    rows = rows[rows["detector"].isin(detectors[:MOST_DETECTORS])]
    chosen = [CLEAN, *representatives(rows, MOST_PIPELINES - 1)]
    limits = f" Pipelines: {OF_SWEEPS}." if len(chosen) < rows["pipeline"].nunique() else ""
    limits += first_of(MOST_DETECTORS, len(detectors), "detectors")
    return _Shown(detectors[:MOST_DETECTORS], chosen, rows, limits)


def _with_records(runs: JoinedRuns) -> list[str]:
    """Return the first detectors that have records."""
    return [name for name in runs.overall()["detector"].unique() if runs.has_cells(name)][:MOST_DETECTORS]


@figure(order=40)
def confusion(runs: JoinedRuns) -> ReportFigure | None:
    """Return the confusion matrices."""
    shown = _shown(runs)
    if shown.rows["tpr"].isna().all() or shown.rows["tnr"].isna().all():
        return None
    caption = f"Confusion matrices in per cent of the real and of the AI-generated images.{shown.limits}"
    drawing = draw_confusion(runs.summary, shown.detectors, shown.pipelines)
    return ReportFigure("confusion", caption, drawing)


@figure(order=50)
def scores(runs: JoinedRuns) -> ReportFigure | None:
    """Return the histograms of scores."""
    if not _with_records(runs):
        return None
    shown = _shown(runs)
    caption = f"Scores of real and AI-generated images; the dashed line is the threshold.{shown.limits}"
    if (shown.rows["auroc"].isna() & shown.rows["pipeline"].isin(shown.pipelines)).any():
        caption += " After a final attack in accuracy mode, a score is that at which the search stopped."
    drawing = draw_histograms(runs, _with_records(runs), shown.pipelines)
    return ReportFigure("scores", caption, drawing)


@figure(order=60)
def roc(runs: JoinedRuns) -> ReportFigure | None:
    """Return the ROC and precision-recall curves of the pipelines whose scores compare."""
    shown = _shown(runs)
    ranked = shown.rows[shown.rows["auroc"].notna()]
    if not _with_records(runs) or ranked.empty:
        return None
    caption = "ROC (above) and precision-recall curves (below), AI-generated is positive." + shown.limits
    if set(shown.rows["pipeline"]) - set(ranked["pipeline"]):
        caption += " Pipelines with scores that are not comparable (search stopped at success) are left out."
    compared = [CLEAN, *representatives(ranked, MOST_PIPELINES - 1)]
    return ReportFigure("roc", caption, draw_roc_and_pr(runs, _with_records(runs), compared))


def draw_roc_and_pr(runs: JoinedRuns, detectors: list[str], pipelines: list[str]) -> Figure:
    """Draw ROC (above) and precision-recall curves (below), a column per detector, a line per pipeline."""
    figure = Figure(figsize=(0.8 + 2.5 * len(detectors), 5.6), layout="constrained")
    axes = figure.subplots(2, len(detectors), squeeze=False, sharex="row", sharey="row")
    palette = colours(len(pipelines))
    for place, detector in enumerate(detectors):
        above, below = axes[0][place], axes[1][place]
        for number, pipeline in enumerate(pipelines):
            cell = runs.cell(detector, pipeline)
            if cell is None or cell["label"].nunique() < 2:
                continue
            look = {
                "color": palette[number],
                "linestyle": LINES[number % len(LINES)],
                "label": plain(pipeline),
            }
            labels, log_odds = cell["label"].to_numpy(), cell["log_odds"].to_numpy()
            false, true, _ = roc_curve(labels, log_odds, drop_intermediate=True)
            above.plot(false, true, linewidth=1.3, **look)
            precision, recall = precision_recall_curve(labels, log_odds, drop_intermediate=True)
            below.plot(recall, precision, linewidth=1.3, **look)
        above.plot([0, 1], [0, 1], color=FAINT, linestyle=(0, (2, 2)), linewidth=0.8)
        above.set(title=plain(detector), xlabel="false positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        below.set(xlabel="recall", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0][0].set_ylabel("true positive rate")
    axes[1][0].set_ylabel("precision")
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)), frameon=False)
    return figure


def draw_histograms(runs: JoinedRuns, detectors: list[str], pipelines: list[str]) -> Figure:
    """Draw the scores of real and AI-generated images, a row per detector, a column per pipeline."""
    figure = Figure(figsize=(0.8 + 1.9 * len(pipelines), 0.7 + 1.5 * len(detectors)), layout="constrained")
    axes = figure.subplots(len(detectors), len(pipelines), squeeze=False, sharex=True, sharey="row")
    for row, detector in enumerate(detectors):
        for column, pipeline in enumerate(pipelines):
            axis, cell = axes[row][column], runs.cell(detector, pipeline)
            if cell is None:
                cell = pd.DataFrame({"label": [], "score": [], "threshold": []})
            for label, colour, hatch in ((0, _REAL, "////"), (1, _FAKE, "")):
                scores = cell.loc[cell["label"] == label, "score"].to_numpy()
                if len(scores):
                    counts = np.histogram(scores, _BINS)[0] / len(scores)
                    axis.stairs(
                        counts, _BINS, fill=not hatch, color=colour, alpha=0.9 if hatch else 0.45, hatch=hatch
                    )
                    axis.stairs(counts, _BINS, color=colour, linewidth=1.1)
            if len(cell):
                axis.axvline(cell["threshold"].iloc[0], color=INK, linestyle="--", linewidth=0.8)
            axis.set(xlim=(0, 1), xticks=(0, 0.5, 1))
            if row == 0:
                axis.set_title(plain(pipeline), fontsize=8)
            if row == len(detectors) - 1:
                axis.set_xlabel("score")
        axes[row][0].set_ylabel(f"{wrapped(detector, 20)}\nshare", fontsize=8)
    handles = [
        Patch(facecolor="none", edgecolor=_REAL, hatch="////", label="real"),
        Patch(facecolor=_FAKE, alpha=0.6, label="AI-generated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_confusion(summary: pd.DataFrame, detectors: list[str], pipelines: list[str]) -> Figure:
    """Draw confusion matrices in per cent of each class, a row per detector, a column per pipeline."""
    rows = summary[summary["generator"] == ALL_GENERATORS].set_index(["detector", "pipeline"])
    figure = Figure(figsize=(1.0 + 1.5 * len(pipelines), 0.75 + 1.45 * len(detectors)), layout="constrained")
    axes = figure.subplots(len(detectors), len(pipelines), squeeze=False, sharex=True, sharey=True)
    for row, detector in enumerate(detectors):
        for column, pipeline in enumerate(pipelines):
            axis = axes[row][column]
            if row == 0:
                axis.set_title(plain(pipeline), fontsize=8)
            if (detector, pipeline) not in rows.index:
                axis.set_axis_off()
                continue
            cell = rows.loc[(detector, pipeline)]
            matrix = 100 * pd.DataFrame(
                {"real": [cell["tnr"], 1 - cell["tpr"]], "AI": [1 - cell["tnr"], cell["tpr"]]},
                index=["real", "AI"],
            )
            annotated_heat_map(axis, matrix, 1, 8)
            axis.set_aspect("equal")
            axis.tick_params(axis="both", rotation=0)
            if row == len(detectors) - 1:
                axis.set_xlabel("verdict")
        axes[row][0].set_ylabel(f"{wrapped(detector, 20)}\nimage is", fontsize=8)
    return figure
