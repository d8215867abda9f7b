"""Figures of accuracy: curves over what a sweep varies, and bars where nothing is swept."""

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.figure import Figure as ReportFigure
from robustbench_aigen.views.figure import figure
from robustbench_aigen.views.figures.drawing import (
    FAINT,
    HATCHES,
    INK,
    LINES,
    MARKERS,
    MOST_ROWS,
    colours,
    first_of,
    plain,
)
from robustbench_aigen.views.sweeps import Curve, find_curves

_ACROSS = 3


@figure(order=10)
def curves(runs: JoinedRuns) -> ReportFigure | None:
    """Return the accuracy over each sweep."""
    found = find_curves(runs.summary)
    caption = "Accuracy over each sweep with 95 % intervals; the dashed line is chance."
    return ReportFigure("curves", caption, draw_curves(found)) if found else None


@figure(order=20)
def accuracy(runs: JoinedRuns) -> ReportFigure | None:
    """Return the accuracy under the pipelines that no curve shows."""
    pipelines = pipelines_without_curve(runs.summary, find_curves(runs.summary))
    if not pipelines:
        return None
    caption = "Accuracy under each pipeline with 95 % intervals; the dashed line is chance."
    caption += first_of(MOST_ROWS, len(pipelines), "pipelines")
    return ReportFigure("accuracy", caption, draw_bars(runs.summary, pipelines[:MOST_ROWS]))


def draw_curves(curves: list[Curve]) -> Figure:
    """Draw accuracy over each sweep, a panel per pipeline and parameter, with bands for the intervals."""
    panels = list(dict.fromkeys((curve.pipeline, curve.parameter) for curve in curves))
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    detectors = list(dict.fromkeys(name for curve in curves for name in curve.points["detector"]))
    figure = Figure(figsize=(0.8 + 2.9 * across, 0.5 + 2.6 * down), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axis, panel in zip(axes, panels, strict=False):
        _draw_panel(axis, [c for c in curves if (c.pipeline, c.parameter) == panel], detectors)
        axis.set(title=plain(panel[0]), xlabel=plain(panel[1]), ylim=(-0.02, 1.02))
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[::across]:
        axis.set_ylabel("accuracy")
    handles: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(2, across), frameon=False
    )
    return figure


def _draw_panel(axis: Axes, curves: list[Curve], detectors: list[str]) -> None:
    palette = colours(len(detectors))
    for number, curve in enumerate(curves):
        for detector, points in curve.points.groupby("detector", sort=False):
            place = detectors.index(str(detector))
            # In grey, markers distinguish detectors, and line styles the other values.
            line = LINES[(number if len(curves) > 1 else place) % len(LINES)]
            axis.plot(
                points["x"],
                points["accuracy"],
                color=palette[place],
                marker=MARKERS[place % len(MARKERS)],
                markersize=4,
                linestyle=line,
                linewidth=1.2,
                label=plain(f"{detector}, {curve.variant}" if curve.variant else detector),
            )
            axis.fill_between(
                points["x"],
                points["ci_low"],
                points["ci_high"],
                color=palette[place],
                alpha=0.18,
                linewidth=0,
            )
    axis.axhline(0.5, color=FAINT, linestyle=(0, (2, 2)), linewidth=0.8)


def pipelines_without_curve(summary: pd.DataFrame, curves: list[Curve]) -> list[str]:
    """Return the pipelines that no curve shows, ``clean`` first; none where the curves show all."""
    shown = {name for curve in curves for name in curve.members}
    names = [name for name in summary["pipeline"].unique() if name not in shown and name != CLEAN]
    return [CLEAN, *names] if names or not curves else []


def draw_bars(summary: pd.DataFrame, pipelines: list[str]) -> Figure:
    """Draw accuracy under some pipelines, a bar per detector, with intervals."""
    rows = summary[(summary["generator"] == ALL_GENERATORS) & summary["pipeline"].isin(pipelines)]
    detectors = list(rows["detector"].unique())
    height = 0.8 / len(detectors)
    figure = Figure(
        figsize=(6.4, 1.0 + 0.17 * len(pipelines) * max(1.7, len(detectors))), layout="constrained"
    )
    axis = figure.subplots()
    for number, (detector, colour) in enumerate(zip(detectors, colours(len(detectors)), strict=True)):
        part = rows[rows["detector"] == detector].set_index("pipeline").reindex(pipelines)
        places = [place + number * height - 0.4 + height / 2 for place in range(len(pipelines))]
        errors = [part["accuracy"] - part["ci_low"], part["ci_high"] - part["accuracy"]]
        axis.barh(
            places,
            part["accuracy"],
            height,
            xerr=errors,
            color=colour,
            hatch=HATCHES[number % len(HATCHES)],
            edgecolor="white",
            ecolor=INK,
            capsize=1.5,
            label=plain(detector),
            error_kw={"linewidth": 0.8},
        )
    axis.axvline(0.5, color=FAINT, linestyle=(0, (2, 2)), linewidth=0.8)
    axis.set(xlim=(0, 1.0), xlabel="accuracy", yticks=range(len(pipelines)))
    axis.set_yticklabels([plain(name) for name in pipelines])
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=min(2, len(detectors)), frameon=False)
    return figure
