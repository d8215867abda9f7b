"""Figures of a run, as PNG and PDF: curves over sweeps, accuracy by generator, accuracy under each pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.report.sweeps import Curve, find_curves
from robustbench_aigen.report.tables import generator_matrix

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":")


def draw_figures(summary: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Draw what a summary holds and return the files' names (PNG) by their captions.

    Parameters
    ----------
    summary
        Of a run.
    folder
        Where ``NAME.png`` and ``NAME.pdf`` go; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    with _style():
        curves = find_curves(summary)
        if curves:
            caption = "Accuracy over each sweep, with 95 % intervals; the dashed grey line is chance."
            drawn[caption] = _save(_curves(curves), folder, "curves")
        else:
            caption = "Accuracy under each pipeline, with 95 % intervals; the dashed grey line is chance."
            drawn[caption] = _save(_bars(summary), folder, "accuracy")
        if summary["generator"].nunique() > 2 and summary["detector"].nunique() > 2:
            caption = (
                "Balanced accuracy in per cent of each detector on each generator's fakes with the reals."
            )
            drawn[caption] = _save(_heat_maps(summary), folder, "generators")
    return drawn


@contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(
        {
            **sns.axes_style("whitegrid"),
            "font.size": 9,
            "axes.titlesize": 9,
            "pdf.fonttype": 42,
            "svg.hashsalt": "robust-aigen",
        }
    ):
        yield


def _save(figure: Figure, folder: Path, name: str) -> str:
    # Without a date in it the same table gives the same file.
    figure.savefig(folder / f"{name}.pdf", bbox_inches="tight", metadata={"CreationDate": None})
    figure.savefig(folder / f"{name}.png", bbox_inches="tight", dpi=160, metadata={"Software": None})
    return f"{name}.png"


def _curves(curves: list[Curve]) -> Figure:
    panels = list(dict.fromkeys((curve.pipeline, curve.parameter) for curve in curves))
    figure = Figure(figsize=(0.6 + 3.4 * len(panels), 3.1), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    detectors = sorted({name for curve in curves for name in curve.points["detector"]})
    colours = dict(zip(detectors, sns.color_palette("colorblind", len(detectors)), strict=True))
    for axis, panel in zip(axes, panels, strict=True):
        members = [curve for curve in curves if (curve.pipeline, curve.parameter) == panel]
        for number, curve in enumerate(members):
            for detector, points in curve.points.groupby("detector", sort=False):
                label = f"{detector}, {curve.variant}" if curve.variant else str(detector)
                marker = _MARKERS[(detectors.index(str(detector)) * len(members) + number) % len(_MARKERS)]
                colour = colours[str(detector)]
                axis.plot(
                    points["x"],
                    points["accuracy"],
                    marker=marker,
                    markersize=4,
                    color=colour,
                    linestyle=_LINES[number % len(_LINES)],
                    label=_plain(label),
                )
                axis.fill_between(
                    points["x"], points["ci_low"], points["ci_high"], color=colour, alpha=0.15, linewidth=0
                )
        axis.axhline(0.5, color="grey", linestyle=(0, (2, 2)), linewidth=0.8)
        axis.set(title=_plain(panel[0]), xlabel=_plain(panel[1]), ylim=(-0.02, 1.02))
        axis.legend(fontsize=7, frameon=True)
    axes[0].set_ylabel("accuracy")
    return figure


def _bars(summary: pd.DataFrame) -> Figure:
    rows = summary[summary["generator"] == ALL_GENERATORS]
    pipelines, detectors = list(rows["pipeline"].unique()), list(rows["detector"].unique())
    figure = Figure(
        figsize=(6.4, 0.9 + 0.2 * len(pipelines) * max(1.4, len(detectors) * 0.8)), layout="constrained"
    )
    axis = figure.subplots()
    height = 0.8 / len(detectors)
    hatches = ("", "//", "..", "xx", "\\\\", "++")
    for number, (detector, colour) in enumerate(
        zip(detectors, sns.color_palette("colorblind", len(detectors)), strict=True)
    ):
        part = rows[rows["detector"] == detector].set_index("pipeline").loc[pipelines]
        places = [place + number * height - 0.4 + height / 2 for place in range(len(pipelines))]
        errors = [part["accuracy"] - part["ci_low"], part["ci_high"] - part["accuracy"]]
        axis.barh(
            places,
            part["accuracy"],
            height,
            xerr=errors,
            color=colour,
            hatch=hatches[number % len(hatches)],
            edgecolor="white",
            ecolor="black",
            capsize=2,
            label=_plain(detector),
            error_kw={"linewidth": 0.8},
        )
    axis.axvline(0.5, color="grey", linestyle=(0, (2, 2)), linewidth=0.8)
    axis.set(
        xlim=(0, 1.0),
        xlabel="accuracy",
        yticks=range(len(pipelines)),
        yticklabels=[_plain(name) for name in pipelines],
    )
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=7)
    return figure


def _heat_maps(summary: pd.DataFrame) -> Figure:
    pipelines = list(summary["pipeline"].unique())
    tables = {name: _matrix(summary[summary["pipeline"] == name]) for name in pipelines}
    columns = min(3, len(pipelines))
    lines = -(-len(pipelines) // columns)
    rows, width = next(iter(tables.values())).shape
    figure = Figure(
        figsize=(1.6 + columns * (0.5 + 0.55 * width), lines * (0.9 + 0.34 * rows)), layout="constrained"
    )
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for place in range(lines * columns):
        axis = axes[place // columns][place % columns]
        if place >= len(pipelines):
            axis.set_axis_off()
            continue
        sns.heatmap(
            100 * tables[pipelines[place]],
            ax=axis,
            vmin=0,
            vmax=100,
            cmap="cividis",
            annot=True,
            fmt=".0f",
            annot_kws={"size": 7},
            cbar=place == len(pipelines) - 1,
            linewidths=0.5,
        )
        axis.set(title=_plain(pipelines[place]), xlabel="", ylabel="")
        axis.tick_params(axis="x", rotation=45)
        axis.tick_params(axis="y", rotation=0)
    return figure


def _matrix(part: pd.DataFrame) -> pd.DataFrame:
    return generator_matrix(part).droplevel("pipeline").rename(index=_plain, columns=_plain)


def _plain(name: object) -> str:
    """Keep a name from being read as a formula by matplotlib."""
    return str(name).replace("$", r"\$")
