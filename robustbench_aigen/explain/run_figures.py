"""Figures of what an attack changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_aigen.explain.figures import draw_picture, draw_sentence, draw_values
from robustbench_aigen.explain.mapping import METHODS, Maps
from robustbench_aigen.explain.perturbations import Change
from robustbench_aigen.views.figures.drawing import FAINT, LINES, MARKERS, colours, plain, wrapped


def draw_attack(
    records: pd.DataFrame,
    originals: Sequence[NDArray[np.uint8]],
    images: Sequence[NDArray[np.uint8]],
    changes: Sequence[Change],
    pairs: Sequence[tuple[Maps, Maps]],
    *,
    pictures: bool,
) -> Figure:
    """Draw a row for each image: original, attacked, change, spectrum, and the maps before and after."""
    start = 2 * int(pictures)
    across, down = start + 2 + 2 * len(pairs), len(images)
    figure = Figure(figsize=(0.9 + 1.25 * across, 0.4 + 1.45 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    largest = max(1.0, *(float(np.quantile(np.abs(each.difference), 0.99)) for each in changes))
    factor = float(2 ** int(np.log2(max(1, 127 // largest))))
    titles = [*["original", "attacked"][:start], f"change × {factor:g}", "spectrum"]
    for before, _ in pairs:
        titles += [f"{METHODS[before.method].title}, before", "after"]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    for row, record in enumerate(records.to_dict(orient="records")):
        kind = "real" if record["label"] == 0 else f"AI: {record['generator']}"
        outcome = "withstood" if record["correct"] else "fooled"
        axes[row][0].set_ylabel(wrapped(f"{kind}, {outcome}", 16), fontsize=7)
        if pictures:
            draw_picture(axes[row][0], originals[row])
            draw_picture(axes[row][1], images[row])
            axes[row][1].set_xlabel(f"score {record['score']:.3f}", fontsize=7)
        axes[row][0].set_xlabel(f"score {record['clean_score']:.3f}", fontsize=7)
        change = changes[row]
        shown = np.clip(128 + factor * change.difference, 0, 255).astype(np.uint8)
        draw_picture(axes[row][start], shown)
        axes[row][start].set_ylabel(axes[row][start].get_ylabel(), fontsize=7)
        if change.spectrum.any():
            draw_values(
                axes[row][start + 1], np.log10(change.spectrum + 1e-6 * change.spectrum.max()), "viridis"
            )
        else:
            draw_sentence(axes[row][start + 1], "nothing changed")
        for place, pair in enumerate(pairs):
            _draw_pair(axes[row][start + 2 + 2 * place : start + 4 + 2 * place], pair, row)
    return figure


def _draw_pair(axes: "NDArray[np.object_]", pair: tuple[Maps, Maps], row: int) -> None:
    """Draw two maps with one scale."""
    content = [each.values[row] for each in pair]  # noqa: PD011  No data frame.
    shown = [not each.problems[row] for each in pair]
    sizes = [
        float(np.percentile(np.abs(each), 99.5)) for each, valid in zip(content, shown, strict=True) if valid
    ]
    most = max(sizes, default=1.0) or 1.0
    signed = METHODS[pair[0].method].is_signed
    for axis, each, found in zip(axes, content, pair, strict=True):
        if found.problems[row]:
            draw_sentence(axis, found.problems[row])
        else:
            draw_values(axis, each, "PuOr_r" if signed else "magma", -most if signed else 0.0, most)


def draw_paths(records: pd.DataFrame, steps: Sequence[int], paths: NDArray[np.float64]) -> Figure:
    """Draw the margin of each image over the number of steps."""
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axis = figure.subplots()
    palette = colours(len(paths))
    for number, (path, record) in enumerate(zip(paths, records.to_dict(orient="records"), strict=True)):
        kind = "real" if record["label"] == 0 else f"AI: {record['generator']}"
        axis.plot(
            steps, path, color=palette[number], marker=MARKERS[number % len(MARKERS)], markersize=4,
            linestyle=LINES[number % len(LINES)], linewidth=1.2, label=plain(f"{kind}, {record['sample']}"),
        )  # fmt: skip
    axis.axhline(0, color=FAINT, linestyle=(0, (2, 2)), linewidth=0.8)
    axis.set(xlabel="steps", ylabel="margin (nats)")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure
