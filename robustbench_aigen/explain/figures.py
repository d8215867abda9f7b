"""Figures of explanations. A map that shows nothing is a sentence, not a picture."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.explain.input_gradient import ClassGradient
from robustbench_aigen.explain.mapping import METHODS, Maps
from robustbench_aigen.explain.mistakes import Mistake
from robustbench_aigen.explain.sanity_checks import Sanity
from robustbench_aigen.explain.weights import Activations, Filters
from robustbench_aigen.views.figures.drawing import FAINT, INK, LINES, MARKERS, colours, plain, wrapped

_SMALL = 64
"""Side up to which images keep their pixels in a figure."""
_SIGNED, _UNSIGNED, _PLAIN = "PuOr_r", "magma", "gray"
_MOST_FILTERS = 32
_MOST_CHANNELS = 8
_CLIPPED = 99.5
"""Percentile of the absolute values at which the colours end."""


def draw_maps(
    levels: Sequence[Tensor],
    titles: Sequence[str],
    found: Sequence[Maps],
    flags: Sequence[str],
    *,
    pictures: bool,
) -> Figure:
    """Draw a row for each image: the image, unless ``pictures`` is false, and its map by each method.

    Parameters
    ----------
    levels
        N uint8 images 3×H×W.
    titles
        N texts beside the images.
    found
        The maps of each method.
    flags
        The flags of each method, ``ok`` where none was raised.
    pictures
        Whether the images are shown.
    """
    across, down = len(found) + int(pictures), len(levels)
    figure = Figure(figsize=(0.9 + 1.35 * across, 0.6 + 1.4 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for row, (image, title) in enumerate(zip(levels, titles, strict=True)):
        if pictures:
            draw_image(axes[row][0], image)
        axes[row][0].set_ylabel(wrapped(title, 22), fontsize=7)
        for column, (each, flag) in enumerate(zip(found, flags, strict=True), int(pictures)):
            axis = axes[row][column]
            draw_map(axis, each, row)
            if row == 0:
                axis.set_title(
                    METHODS[each.method].title + ("" if flag == "ok" else " (flagged)"), fontsize=7
                )
            if column == int(pictures) or each.towards[row] != found[0].towards[row]:
                axis.set_xlabel(f"for {CLASS_NAMES[each.towards[row]]}", fontsize=7, color=INK)
    return figure


def draw_image(axis: Axes, levels: Tensor) -> None:
    """Draw a uint8 3×H×W image."""
    draw_picture(axis, levels.permute(1, 2, 0).numpy())


def draw_picture(axis: Axes, image: NDArray[np.uint8]) -> None:
    """Draw a uint8 H×W×3 image."""
    _show(axis, image)


def draw_values(
    axis: Axes,
    values: NDArray[np.floating],
    colour_map: str,
    low: float | None = None,
    high: float | None = None,
) -> None:
    """Draw H×W values with the ends of the colours, those of the values by default."""
    _show(axis, values, cmap=colour_map, vmin=low, vmax=high)


def draw_map(axis: Axes, found: Maps, row: int) -> None:
    """Draw a map, or the reason why it shows nothing."""
    values, problem = found.values[row], found.problems[row]
    if problem:
        draw_sentence(axis, problem)
        return
    largest = float(np.percentile(np.abs(values), _CLIPPED)) or float(np.abs(values).max())
    if METHODS[found.method].is_signed:
        _show(axis, values, cmap=_SIGNED, vmin=-largest, vmax=largest)
    else:
        _show(axis, values, cmap=_UNSIGNED, vmin=0, vmax=largest)
    if found.notes[row]:
        axis.text(
            0.5,
            -0.04,
            wrapped(found.notes[row], 34),
            fontsize=4.5,
            ha="center",
            va="top",
            transform=axis.transAxes,
        )


def draw_sentence(axis: Axes, text: str) -> None:
    """Write a sentence in place of a picture."""
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    axis.text(0.5, 0.5, wrapped(text, 16), ha="center", va="center", fontsize=7, transform=axis.transAxes)


def draw_sanity(found: Sequence[Sanity]) -> Figure:
    """Draw the deletion and insertion curves of each method, with those of its shifted maps."""
    figure = Figure(figsize=(0.6 + 2.4 * len(found), 4.6), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False, sharex=True, sharey=True)
    shares = np.linspace(0, 100, found[0].deletion.shape[1])
    ink, shifted = colours(2)
    for column, each in enumerate(found):
        for row, (name, own, other) in enumerate(
            (
                ("deletion", each.deletion, each.deletion_shifted),
                ("insertion", each.insertion, each.insertion_shifted),
            )
        ):
            axis = axes[row][column]
            if not len(own):
                draw_sentence(axis, "no valid map")
                continue
            axis.plot(shares, own.mean(axis=0), color=ink, marker=MARKERS[0], markersize=3, label="map")
            axis.plot(
                shares, other.mean(axis=0), color=shifted, marker=MARKERS[1], markersize=3, linestyle=LINES[1],
                label="the same map, shifted",
            )  # fmt: skip
            axis.axhline(0, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
            if row == 0:
                axis.set_title(f"{METHODS[each.method].title}: {each.trust.replace('_', ' ')}", fontsize=7)
            if column == 0:
                axis.set_ylabel(f"{name}: log-odds\nof the explained class (nats)", fontsize=8)
            if row == 1:
                axis.set_xlabel("pixels blurred / shown (%)", fontsize=8)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_filters(found: Filters) -> Figure:
    """Draw the filters of a convolution, each channel normalised; three channels are shown as a colour."""
    filters = found.normalised()
    if filters.shape[1] != 3:
        # One plane for each filter and channel: the first ones.
        filters = filters.reshape(-1, 1, *filters.shape[2:])
    shown = filters[:_MOST_FILTERS]
    across = min(8, len(shown))
    down = math.ceil(len(shown) / across)
    figure = Figure(figsize=(0.3 + 0.75 * across, 0.3 + 0.75 * down), layout="constrained")
    for axis, kernel in zip(_grid(figure, down, across, len(shown)), shown, strict=True):
        _show(axis, kernel.transpose(1, 2, 0) if len(kernel) == 3 else kernel[0], cmap=_PLAIN, vmin=0, vmax=1)
    return figure


def draw_activations(found: Sequence[Activations], row: int) -> Figure:
    """Draw the first channels of each layer for one image, each channel scaled by itself."""
    across, down = _MOST_CHANNELS, len(found)
    figure = Figure(figsize=(1.0 + 0.9 * across, 0.3 + 1.0 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False)
    for line, each in enumerate(found):
        channels = each.values[row]
        # Those that vary most over the image.
        chosen = np.argsort(-channels.std(axis=(1, 2)), kind="stable")[:across]
        for place, axis in enumerate(axes[line]):
            if place >= len(chosen):
                axis.set_axis_off()
                continue
            values = channels[chosen[place]]
            if not np.isfinite(values).all() or values.max() == values.min():
                draw_sentence(axis, "constant" if np.isfinite(values).all() else "NaN or infinite")
            else:
                _show(axis, values, cmap="viridis")
            axis.set_title(f"channel {chosen[place]}", fontsize=6)
        axes[line][0].set_ylabel(wrapped(each.layer, 16), fontsize=7)
    return figure


def draw_gradients(found: Sequence[ClassGradient]) -> Figure:
    """Draw the distribution of the input gradient for each class, and the mean place of it."""
    figure = Figure(figsize=(3.4 + 2.2 * len(found), 2.7), layout="constrained")
    axes = figure.subplots(1, 1 + len(found), squeeze=False, width_ratios=[1.7] + [1] * len(found))[0]
    for number, (each, colour) in enumerate(zip(found, colours(2), strict=False)):
        axes[0].stairs(
            100 * each.shares, each.edges, color=colour, linestyle=LINES[number], linewidth=1.3,
            label=f"{each.name} ({each.images})",
        )  # fmt: skip
    axes[0].set(xlabel="absolute gradient, power of ten\n(nats per pixel range)", ylabel="pixels (%)")
    axes[0].legend(frameon=False)
    most = max(float(each.place.max()) for each in found)
    for axis, each in zip(axes[1:], found, strict=True):
        image = _show(axis, each.place, cmap=_UNSIGNED, vmin=0, vmax=most)
        axis.set_title(f"place, {each.name}", fontsize=8)
    figure.colorbar(image, ax=list(axes[1:]), shrink=0.8, label="relative to the mean")
    return figure


def draw_contact_sheet(rows: Sequence[tuple[str, Sequence[Mistake], str]]) -> Figure:
    """Draw rows of images with their log-odds; a row without images is a sentence.

    Parameters
    ----------
    rows
        The title of each row, its images, and the sentence in place of missing images.
    """
    across = max(1, *(len(images) for _, images, _ in rows))
    figure = Figure(figsize=(0.9 + 1.15 * across, 0.3 + 1.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), across, squeeze=False)
    for line, (title, images, sentence) in zip(axes, rows, strict=True):
        line[0].set_ylabel(wrapped(title, 18), fontsize=8)
        for place, axis in enumerate(line):
            if place < len(images):
                draw_image(axis, images[place].levels)
                axis.set_xlabel(
                    f"{plain(images[place].sample.generator)}\n{images[place].log_odds:+.1f} nats", fontsize=7
                )
            elif place == 0:
                draw_sentence(axis, sentence)
            else:
                axis.set_axis_off()
    return figure


def _grid(figure: Figure, down: int, across: int, count: int) -> list[Axes]:
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return axes[:count]


def _show(axis: Axes, values: NDArray[np.generic], **settings: object) -> "mpl.image.AxesImage":
    small = max(values.shape[:2]) <= _SMALL
    image = axis.imshow(values, interpolation="none" if small else "antialiased", **settings)  # type: ignore[arg-type]
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    return image
