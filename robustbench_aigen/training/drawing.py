"""Figures of trainings, as PNG and PDF: learning curves, ROC curves, confusion matrices, the cross-generator matrix."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from robustbench_aigen.files import temporary_folder, writing
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.generator_matrix import genimage_table
from robustbench_aigen.views.figures.drawing import annotated_heat_map, plain, save_files, style

_LINES = ("-", "--", "-.")


def draw_training(
    folder: Path, name: str, fitted: Fitted, found: Mapping[str, Any], roc: pd.DataFrame
) -> None:
    """Draw a training's figures.

    Parameters
    ----------
    folder
        Folder of ``NAME.png`` and ``NAME.pdf``; made if missing.
    name
        Name of the detector.
    fitted
        For the learning curves; a support vector machine has none.
    found
        Figures by part (validation, test), for the confusion matrices.
    roc
        ROC points by part.
    """
    with style(), _finished_in(folder) as made:
        if fitted.history:
            curves = _learning_curves(name, pd.DataFrame(fitted.history), fitted.best_epoch)
            save_files(curves, made, "learning_curves")
        if len(roc):
            save_files(_roc(name, roc, found), made, "roc")
        save_files(_confusion(name, found), made, "confusion_matrix")


@contextmanager
def _finished_in(folder: Path) -> Iterator[Path]:
    """Yield a folder for figures, whose files move into ``folder`` when all are finished."""
    with writing("figures"), temporary_folder(folder) as made:
        yield made
        for file in made.iterdir():
            file.replace(folder / file.name)


def _learning_curves(name: str, history: pd.DataFrame, best_epoch: int) -> Figure:
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    colours = sns.color_palette("colorblind", 2)
    for axis, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, label, colour, line in (
            ("train", "training", colours[0], "-"),
            ("val", "validation", colours[1], "--"),
        ):
            axis.plot(
                history["epoch"], history[f"{part}_{quantity}"],
                line, marker="o", markersize=3, color=colour, label=label,
            )  # fmt: skip
        axis.axvline(best_epoch, color="grey", linestyle=(0, (2, 2)), linewidth=0.8, label="kept")
        axis.set(title=plain(name), xlabel="epoch", ylabel=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=7)
    return figure


def _roc(name: str, roc: pd.DataFrame, found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(3.4, 3.2), layout="constrained")
    axis = figure.subplots()
    parts = list(roc["images"].unique())
    for part, colour, line in zip(parts, sns.color_palette("colorblind", len(parts)), _LINES, strict=False):
        points = roc[roc["images"] == part]
        auroc = found[part]["fitted"]["auroc"]
        axis.plot(points["fpr"], points["tpr"], line, color=colour, label=f"{plain(part)} ({auroc:.3f})")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=(0, (2, 2)), linewidth=0.8)
    axis.set(
        title=plain(name), xlabel="false-positive rate", ylabel="true-positive rate",
        xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal",
    )  # fmt: skip
    axis.legend(fontsize=7, loc="lower right", title="AUROC", title_fontsize=7)
    return figure


def _confusion(name: str, found: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(0.6 + 2.5 * len(found), 2.5), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axis, (part, figures_) in zip(axes, found.items(), strict=True):
        counts = np.array(figures_["fitted"]["confusion_matrix"])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        texts = [
            [f"{count}\n{100 * share:.1f} %" for count, share in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
        sns.heatmap(
            shares, ax=axis, vmin=0, vmax=1, cmap="cividis", annot=np.array(texts), fmt="", cbar=False,
            xticklabels=["real", "fake"], yticklabels=["real", "fake"], annot_kws={"size": 8},
        )  # fmt: skip
        axis.set(title=f"{plain(name)}\n{plain(part)}", xlabel="verdict", ylabel="label")
    return figure


def draw_matrix(folder: Path, table: pd.DataFrame) -> None:
    """Draw the cross-generator matrix, a panel for each pipeline; seen generators are framed."""
    pipelines = list(table["pipeline"].unique())
    wides = {name: 100 * genimage_table(table, name).droplevel("trained_on") for name in pipelines}
    seen = {(row.detector, row.generator) for row in table.itertuples() if row.in_domain}
    rows, width = next(iter(wides.values())).shape
    across = min(3, len(pipelines))
    down = math.ceil(len(pipelines) / across)
    with style():
        figure = Figure(
            figsize=(1.8 + across * (0.6 + 0.5 * width), down * (1.0 + 0.3 * rows)), layout="constrained"
        )
        axes = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
        for axis, (name, wide) in zip(axes, wides.items(), strict=False):
            _heat_map(axis, wide, seen)
            axis.set(title=plain(name), xlabel="tested on", ylabel="")
        for axis in axes[len(pipelines) :]:
            axis.set_axis_off()
        with _finished_in(folder) as made:
            save_files(figure, made, "protocol")


def _heat_map(axis: Axes, wide: pd.DataFrame, seen: set[tuple[str, str]]) -> None:
    labelled = wide.rename(index=plain, columns=plain)
    annotated_heat_map(axis, labelled, digits=0, size=7)
    for row, detector in enumerate(wide.index):
        for column, generator in enumerate(wide.columns):
            if (detector, generator) in seen:
                axis.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor="black", linewidth=1.6))
    axis.tick_params(axis="x", rotation=45, labelbottom=True)
    axis.tick_params(axis="y", rotation=0)
