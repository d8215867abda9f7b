"""The gallery: images as they were, attacked, and what the attack changed, amplified."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from robustbench_aigen.errors import shortened
from robustbench_aigen.runs.folder import gallery_image
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.figure import Figure as ReportFigure
from robustbench_aigen.views.figure import figure
from robustbench_aigen.views.figures.drawing import INK, MOST_PIPELINES, first_of, plain
from robustbench_aigen.views.sweeps import representatives

_MOST_ATTACKS = 4
_MOST_IMAGES = 8
"""Number of drawn images per class, although a run may have kept all images."""
_MOST_GALLERIES = 2
_SMALL = 64
_FITTING = 28
"""Characters of a pipeline's name that fit above two images."""


@figure(order=70)
def first_gallery(runs: JoinedRuns) -> ReportFigure | None:
    """Return the kept images of the first detector that was attacked."""
    return _gallery(runs, 1)


@figure(order=80)
def second_gallery(runs: JoinedRuns) -> ReportFigure | None:
    """Return the kept images of the second detector that was attacked."""
    return _gallery(runs, 2)


def _gallery(runs: JoinedRuns, number: int) -> ReportFigure | None:
    gallery, overall = runs.gallery, runs.overall()
    detectors = [] if gallery.empty else list(gallery["detector"].unique())
    if number > len(detectors):
        return None
    detector = detectors[number - 1]
    attacked = overall[overall["pipeline"].isin(gallery["pipeline"].unique())]
    chosen = representatives(attacked[attacked["detector"] == detector], MOST_PIPELINES - 1)
    caption = (
        f"{detector}: originals, what the detector saw after each attack, and the change amplified around grey. "
        "Images were chosen by their ids, not by their outcome."
    ) + first_of(_MOST_GALLERIES, len(detectors), "detectors")
    name = "gallery" if len(detectors) == 1 else f"gallery-{number}"
    return ReportFigure(name, caption, draw_gallery(gallery, detector, chosen))


def draw_gallery(gallery: pd.DataFrame, detector: str, pipelines: list[str]) -> Figure:
    """Draw a row per kept image: the original, then for up to four pipelines the result and its perturbation.

    The perturbation is amplified, by the same factor in a whole column, around a grey that means no change.
    """
    mine = gallery[gallery["detector"] == detector]
    pipelines = [name for name in pipelines if name in set(mine["pipeline"])][:_MOST_ATTACKS]
    mine = mine[mine["pipeline"].isin(pipelines)]
    samples = _samples(mine)
    across = 1 + 2 * len(pipelines)
    figure = Figure(figsize=(0.9 + 1.05 * across, 0.7 + 1.28 * len(samples)), layout="constrained")
    axes = figure.subplots(len(samples), across, squeeze=False)
    factors = {name: _factor(mine[mine["pipeline"] == name]) for name in pipelines}
    for row, sample in enumerate(samples):
        of_sample = mine[mine["sample"] == sample]
        first = of_sample.iloc[0]
        kind = "real" if first["label"] == 0 else f"AI: {first['generator']}"
        _show(
            axes[row][0],
            _decode(first["original"]),
            f"{plain(shortened(kind, 18))}\nscore {first['clean_score']:.3f}",
        )
        for number, pipeline in enumerate(pipelines):
            left, right = axes[row][1 + 2 * number], axes[row][2 + 2 * number]
            if row == 0:
                title = plain(shortened(pipeline, 2 * _FITTING))
                # A long name is written smaller: beside it stands the factor.
                left.set_title(title, fontsize=7 * min(1, _FITTING / len(title)), loc="left")
                right.set_title(f"× {factors[pipeline]:g}", fontsize=7, loc="right")
            found = of_sample[of_sample["pipeline"] == pipeline]
            if found.empty:
                left.set_axis_off()
                right.set_axis_off()
                continue
            record = found.iloc[0]
            _show(left, _decode(record["image"]), f"{_outcome(record)}\nscore {record['score']:.3f}")
            _show_change(right, _decode(record["original"]), _decode(record["image"]), factors[pipeline])
    axes[0][0].set_title("original", fontsize=7, loc="left")
    return figure


def _samples(gallery: pd.DataFrame) -> list[str]:
    """Return the images of a gallery that are drawn, real ones first."""
    first = gallery.drop_duplicates("sample").groupby("label", sort=False).head(_MOST_IMAGES)
    first = first.sort_values("label", kind="stable")
    return list(first["sample"])


def _outcome(record: pd.Series) -> str:
    if not record["attacked"]:
        return "not attacked"
    return "withstood" if record["correct"] else "fooled"


def _decode(encoded: bytes) -> NDArray[np.uint8]:
    return np.asarray(gallery_image(encoded))


def _factor(rows: pd.DataFrame) -> float:
    """Return the power of two that makes most of a pipeline's changes visible; what is beyond is cut off."""
    largest = 1.0
    for original, changed in zip(rows["original"], rows["image"], strict=True):
        before, after = _decode(original).astype(int), _decode(changed).astype(int)
        if before.shape == after.shape:
            largest = max(largest, float(np.quantile(np.abs(after - before), 0.99)))
    return float(2 ** int(np.log2(max(1, 127 // largest))))


def _show(axis: Axes, image: NDArray[np.uint8], text: str) -> None:
    # Small images keep their pixels in PDF and SVG; larger ones are brought down to the size they are shown at.
    axis.imshow(image, interpolation="none" if max(image.shape) <= _SMALL else "antialiased")
    axis.set_xlabel(text, fontsize=7, color=INK)
    axis.set(xticks=[], yticks=[])


def _show_change(axis: Axes, before: NDArray[np.uint8], after: NDArray[np.uint8], factor: float) -> None:
    if before.shape != after.shape:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "size\nchanged", ha="center", va="center", fontsize=7, transform=axis.transAxes)
        return
    change = after.astype(int) - before.astype(int)
    shown = np.clip(128 + factor * change, 0, 255).astype(np.uint8)
    largest = int(np.abs(change).max())
    _show(axis, shown, f"at most {largest}\n{'level' if largest == 1 else 'levels'}")
