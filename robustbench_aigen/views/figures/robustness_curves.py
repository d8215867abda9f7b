"""Figure of robustness curves: accuracy over eps from the distances of minimum-norm attacks."""

import numpy as np
from matplotlib.figure import Figure

from robustbench_aigen.metrics.intervals import wilson_interval
from robustbench_aigen.metrics.robustness_curve import robustness_curve
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.distances import MeasuredCell, measured_cells
from robustbench_aigen.views.figure import Figure as ReportFigure
from robustbench_aigen.views.figure import figure
from robustbench_aigen.views.figures.drawing import FAINT, LINES, colours, first_of, plain

_MOST = 6
"""Most panels."""
_ACROSS = 3


@figure(order=15)
def robustness_curves(runs: JoinedRuns) -> ReportFigure | None:
    """Return the accuracy over eps of every minimum-norm attack, a panel per pipeline; None without one."""
    panels: dict[str, list[MeasuredCell]] = {}
    for cell in measured_cells(runs):
        slim = cell.records[["distance", "distance_limit"]]
        panels.setdefault(cell.pipeline, []).append(cell._replace(records=slim))
    if not panels:
        return None
    caption = (
        "Robustness curves: accuracy over eps from one minimum-norm attack each, with 95 % intervals; the dashed line "
        "is chance." + first_of(_MOST, len(panels), "pipelines")
    )
    return ReportFigure("robustness_curves", caption, draw(dict(list(panels.items())[:_MOST])))


def draw(panels: dict[str, list[MeasuredCell]]) -> Figure:
    """Draw curves, a panel per pipeline and a line per detector, with bands for the intervals.

    Parameters
    ----------
    panels
        The cells of each pipeline, one a detector.
    """
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    names = list(dict.fromkeys(cell.detector for cells in panels.values() for cell in cells))
    palette = dict(zip(names, colours(len(names)), strict=True))
    drawing = Figure(figsize=(0.8 + 2.9 * across, 0.5 + 2.6 * down), layout="constrained")
    axes = list(drawing.subplots(down, across, squeeze=False, sharey=True).flat)
    handles = {}
    for axis, (pipeline, cells) in zip(axes, panels.items(), strict=False):
        is_linf = cells[0].norm == "linf"
        for cell in cells:
            curve, count, colour = robustness_curve(cell.records), len(cell.records), palette[cell.detector]
            eps = curve.eps * (255 if is_linf else 1)
            bounds = np.array([wilson_interval(round(share * count), count) for share in curve.accuracy])
            (handles[plain(cell.detector)],) = axis.step(
                eps, curve.accuracy, where="post", color=colour, linewidth=1.2,
                linestyle=LINES[names.index(cell.detector) % len(LINES)],
            )  # fmt: skip
            axis.fill_between(eps, *bounds.T, step="post", color=colour, alpha=0.18, linewidth=0)
        axis.axhline(0.5, color=FAINT, linestyle=(0, (2, 2)), linewidth=0.8)
        axis.set(title=plain(pipeline), xlabel="eps in 255ths" if is_linf else "eps", ylim=(-0.02, 1.02))
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[::across]:
        axis.set_ylabel("accuracy")
    drawing.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(2, across), frameon=False
    )
    return drawing
