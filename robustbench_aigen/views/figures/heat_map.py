"""The heat map of detectors and generators."""

import pandas as pd
from matplotlib.figure import Figure

from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.views.figure import Figure as ReportFigure
from robustbench_aigen.views.figure import figure
from robustbench_aigen.views.figures.drawing import (
    MOST_PIPELINES,
    MOST_ROWS,
    OF_SWEEPS,
    annotated_heat_map,
    first_of,
    plain,
)
from robustbench_aigen.views.sweeps import representatives
from robustbench_aigen.views.tables.generators import generator_matrix

_ACROSS = 3


@figure(order=30)
def generators(runs: JoinedRuns) -> ReportFigure | None:
    """Return the heat map of detectors and generators."""
    summary = runs.summary
    if summary["generator"].nunique() <= 2:
        return None
    chosen = [CLEAN, *representatives(summary, MOST_PIPELINES)]
    caption = "Balanced accuracy in per cent on the fakes of each generator and their real images."
    pipelines = summary["pipeline"].nunique()
    if summary["detector"].nunique() <= 2:
        caption += first_of(MOST_ROWS, pipelines, "pipelines")
    elif len(chosen) < pipelines:
        caption += f" Pipelines: {OF_SWEEPS}."
    return ReportFigure("generators", caption, draw_heat_map(summary, chosen, MOST_ROWS))


def draw_heat_map(summary: pd.DataFrame, pipelines: list[str], most: int) -> Figure:
    """Draw balanced accuracy by generator in per cent.

    A panel per pipeline with a row per detector; for one or two detectors, a panel for each with a row for at most
    ``most`` pipelines.
    """
    matrix = 100 * generator_matrix(summary)
    detectors = list(matrix.index.get_level_values("detector").unique())
    if len(detectors) > 2:
        # A detector that another run did not put through a pipeline has an empty row there.
        panels = {name: matrix.xs(name, level="pipeline").reindex(detectors) for name in pipelines}
    else:
        panels = {name: matrix.xs(name, level="detector").iloc[:most] for name in detectors}
    panels = {name: table.rename(index=plain, columns=plain) for name, table in panels.items()}
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    rows, width = max(len(table) for table in panels.values()), matrix.shape[1]
    figure = Figure(
        figsize=(1.6 + across * (0.7 + 0.5 * width), down * (0.9 + 0.28 * rows)), layout="constrained"
    )
    axes = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=len(detectors) > 2).flat)
    for place, (name, table) in enumerate(panels.items()):
        annotated_heat_map(axes[place], table, 0, 7)
        axes[place].set(title=plain(name), xlabel="", ylabel="")
        axes[place].tick_params(axis="x", rotation=45, labelbottom=True)
        axes[place].tick_params(axis="y", rotation=0)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.colorbar(axes[0].collections[0], ax=axes, shrink=0.8, label="per cent")
    return figure
