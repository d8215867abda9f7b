"""Figures of the fingerprints of generators."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_aigen.explain.figures import draw_sentence, draw_values
from robustbench_aigen.explain.fingerprinting import REALS, Fingerprints
from robustbench_aigen.views.figures.drawing import FAINT, INK, LINES, colours, plain, wrapped

_MOST = 8
"""Generators with a panel of their own."""


def draw_spectra(found: Fingerprints) -> Figure:
    """Draw the excess spectrum and the mean residual of the first generators."""
    names = found.generators[:_MOST]
    figure = Figure(figsize=(0.8 + 1.4 * len(names), 3.4), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    excess = {name: found.excess(name) for name in names}
    high = max(0.5, *(float(np.percentile(np.abs(each), 99.5)) for each in excess.values()))
    for place, name in enumerate(names):
        draw_values(axes[0][place], excess[name], "PuOr_r", -high, high)
        axes[0][place].set_title(wrapped(f"{name} ({found.each[name].images})", 18), fontsize=7)
        residual = found.each[name].residual
        most = float(np.percentile(np.abs(residual), 99.5))
        if most:
            draw_values(axes[1][place], residual, "gray", -most, most)
        else:
            draw_sentence(axes[1][place], "the mean residual is 0")
        axes[1][place].set_xlabel(f"±{255 * most:.2f} levels", fontsize=7, color=INK)
    axes[0][0].set_ylabel("power over\nthe real images", fontsize=8)
    axes[1][0].set_ylabel("mean residual", fontsize=8)
    figure.colorbar(axes[0][-1].images[0], ax=list(axes[0]), label="dB", shrink=0.9)
    return figure


def draw_profiles(found: Fingerprints) -> Figure:
    """Draw the radial profiles over the real images, with bands."""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    reals = found.each[REALS].band()[0]
    for number, (name, colour) in enumerate(zip(found.each, colours(len(found.each)), strict=True)):
        middle, low, high = (
            10 * np.log10(np.maximum(each, 1e-30) / reals) for each in found.each[name].band()
        )
        axis.plot(
            found.frequencies, middle, color=colour, linestyle=LINES[number % len(LINES)], linewidth=1.3,
            label=plain(f"{name} ({found.each[name].images})"),
        )  # fmt: skip
        axis.fill_between(found.frequencies, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.axhline(0, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    axis.set(xlabel="radial frequency (cycles per pixel)", ylabel="power over the real images (dB)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def draw_similarity(found: Fingerprints) -> Figure:
    """Draw the correlations of residuals, and those of spectra in the order of their dendrogram."""
    names = list(found.each)
    side = max(2.4, 0.42 * len(names) + 1.2)
    figure = Figure(figsize=(2 * side + 1.2, side + 1.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 4])
    _matrix(figure.add_subplot(grid[1, 0]), found.residual_similarity(), names, "mean residuals")
    top, axis = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    if len(found.generators) < 2:
        draw_sentence(axis, "one generator has nothing to compare with")
        top.set_axis_off()
        return figure
    similarity = found.spectrum_similarity()
    order = _draw_dendrogram(top, similarity)
    shown = [found.generators[place] for place in order]
    _matrix(axis, similarity[np.ix_(order, order)], shown, "spectra over the real images")
    return figure


def _draw_dendrogram(axis: Axes, similarity: NDArray[np.float64]) -> list[int]:
    """Draw the tree of average linkage, and return the order of its leaves."""
    from scipy.cluster.hierarchy import dendrogram, linkage  # Slow to import.
    from scipy.spatial.distance import squareform

    distance = 1 - (similarity + similarity.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(np.nan_to_num(np.clip(distance, 0, 2), nan=2.0), checks=False), "average")
    drawn = dendrogram(tree, no_plot=True)
    for across, heights in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        # scipy places leaves at 5, 15, 25, …
        axis.plot([(each - 5) / 10 for each in across], heights, color=INK, linewidth=1)
    axis.set(xlim=(-0.5, len(similarity) - 0.5), xticks=[], ylabel="1 − r")
    axis.grid(visible=False, axis="x")
    return [int(leaf) for leaf in drawn["leaves"]]


def _matrix(axis: Axes, values: NDArray[np.float64], names: list[str], title: str) -> None:
    axis.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1, interpolation="none", aspect="auto")
    axis.set_xticks(range(len(names)), [plain(name) for name in names], rotation=45, ha="right", fontsize=7)
    axis.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=7)
    axis.grid(visible=False)
    axis.set_xlabel(title, fontsize=8)
    for row, column in np.ndindex(values.shape):
        value = float(values[row, column])
        text = "" if math.isnan(value) else f"{value:.2f}"
        colour = "#ffffff" if abs(value) > 0.65 else "#000000"
        axis.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
