"""Which figures a report has."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.figure import Drawn
from robustbench_aigen.views.figures.drawing import MOST_DETECTORS, save, style
from robustbench_aigen.views.figures.gallery import draw_gallery
from robustbench_aigen.views.figures.heat_map import draw_heat_map
from robustbench_aigen.views.figures.scores import draw_confusion, draw_histograms, draw_roc_and_pr
from robustbench_aigen.views.figures.sweeps import draw_bars, draw_curves, pipelines_without_curve
from robustbench_aigen.views.sweeps import find_curves, representatives

_MOST_PIPELINES = 5
_MOST_ROWS = 24
"""Pipelines below one another, in bars and in a heat map."""
_MOST_GALLERIES = 2
_Add = Callable[[str, str, Callable[[], Figure]], None]
"""Takes a name, a caption and what draws the figure."""
_OF_SWEEPS = "of a sweep the value that costs most"


def draw_figures(joined: JoinedRuns, folder: Path) -> list[Drawn]:
    """Draw the figures of a report as ``NAME.png`` and ``NAME.pdf``.

    What needs single images is drawn from the runs that have records; the gallery from those that kept images.
    """
    drawn: list[Drawn] = []

    def add(name: str, caption: str, draw: Callable[[], Figure]) -> None:
        drawn.append(save(draw(), folder, name, caption))

    with style():
        _add_accuracy(joined, add)
        _add_generators(joined, add)
        _add_scores(joined, add)
        _add_gallery(joined, add)
    return drawn


def _add_accuracy(joined: JoinedRuns, add: _Add) -> None:
    curves = find_curves(joined.summary)
    if curves:
        caption = "Accuracy over each sweep with 95 % intervals; the dashed line is chance."
        add("curves", caption, lambda: draw_curves(curves))
    pipelines = pipelines_without_curve(joined.summary, curves)
    if pipelines:
        caption = "Accuracy under each pipeline with 95 % intervals; the dashed line is chance."
        caption += _first(_MOST_ROWS, len(pipelines), "pipelines")
        add("accuracy", caption, lambda: draw_bars(joined.summary, pipelines[:_MOST_ROWS]))


def _add_generators(joined: JoinedRuns, add: _Add) -> None:
    summary = joined.summary
    if summary["generator"].nunique() > 2:
        chosen = [CLEAN, *representatives(summary, _MOST_PIPELINES)]
        caption = "Balanced accuracy in per cent on each generator's fakes with the reals they belong to."
        pipelines = len(summary["pipeline"].unique())
        if len(summary["detector"].unique()) <= 2:
            caption += _first(_MOST_ROWS, pipelines, "pipelines")
        elif len(chosen) < pipelines:
            caption += f" Pipelines: {_OF_SWEEPS}."
        add("generators", caption, lambda: draw_heat_map(summary, chosen, _MOST_ROWS))


def _add_scores(joined: JoinedRuns, add: _Add) -> None:
    rows, records = joined.overall(), joined.records
    detectors = list(rows["detector"].unique())
    # Of runs side by side: the pipelines of those detectors that are shown.
    rows = rows[rows["detector"].isin(detectors[:MOST_DETECTORS])]
    chosen = [CLEAN, *representatives(rows, _MOST_PIPELINES - 1)]
    limits = f" Pipelines: {_OF_SWEEPS}." if len(chosen) < rows["pipeline"].nunique() else ""
    limits += _first(MOST_DETECTORS, len(detectors), "detectors")
    if rows["tpr"].notna().any() and rows["tnr"].notna().any():
        caption = f"Confusion matrices in per cent of the real and of the AI-generated images.{limits}"
        shown = detectors[:MOST_DETECTORS]
        add("confusion", caption, lambda: draw_confusion(joined.summary, shown, chosen))
    if records.empty:
        return
    measured = [name for name in detectors if name in set(records["detector"])][:MOST_DETECTORS]
    caption = f"Scores of real and AI-generated images; the dashed line is the threshold.{limits}"
    stopped = rows[rows["auroc"].isna() & rows["pipeline"].isin(chosen)]
    if len(stopped):
        caption += " Where an attack comes last in accuracy mode a score is where the search stopped."
    add("scores", caption, lambda: draw_histograms(records, measured, chosen))
    ranked = rows[rows["auroc"].notna()]
    compared = [CLEAN, *representatives(ranked, _MOST_PIPELINES - 1)] if len(ranked) else []
    if compared:
        caption = "ROC (above) and precision-recall curves (below), AI-generated is positive." + limits
        left_out = sorted(set(rows["pipeline"]) - set(ranked["pipeline"]))
        if left_out:
            caption += " Pipelines whose scores do not compare, searches stopped at success, are left out."
        add("roc", caption, lambda: draw_roc_and_pr(records, measured, compared))


def _first(most: int, count: int, what: str) -> str:
    """Say that only some are shown, where that is so."""
    return f" The first {most} of {count} {what}." if count > most else ""


def _add_gallery(joined: JoinedRuns, add: _Add) -> None:
    gallery = joined.gallery
    if gallery.empty:
        return
    attacked_detectors = list(gallery["detector"].unique())
    detectors = attacked_detectors[:_MOST_GALLERIES]
    attacked = joined.overall()[joined.overall()["pipeline"].isin(gallery["pipeline"].unique())]
    for number, detector in enumerate(detectors, 1):
        chosen = representatives(attacked[attacked["detector"] == detector], _MOST_PIPELINES - 1)
        caption = (
            f"{detector}: originals, what the detector saw after each attack, and the change amplified around grey. "
            "Images were chosen by their ids, not by their outcome."
        ) + _first(_MOST_GALLERIES, len(attacked_detectors), "detectors")
        name = "gallery" if len(detectors) == 1 else f"gallery-{number}"
        add(name, caption, partial(draw_gallery, gallery, detector, chosen))
