"""Accuracy on generators in the order of their release."""

from collections.abc import Mapping
from datetime import date

from robustbench_aigen.data.release_dates import in_order
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import DETECTOR, Column, Table, TableCell, table, with_best
from robustbench_aigen.views.tables.generators import generator_matrix


@table(order=55)
def chronology(runs: JoinedRuns) -> Table | None:
    """Return a row per pipeline and detector: balanced accuracy on each generator, the oldest first.

    None unless there are at least two generators, and the release dates of all are known: by ``protocol.released`` of
    the scenario, or by the table of the package (:mod:`robustbench_aigen.data.release_dates`).
    """
    matrix = 100 * generator_matrix(runs.summary)
    dates, unknown = in_order(
        [name for name in matrix.columns if name != ALL_GENERATORS], _dates_of_scenarios(runs)
    )
    if unknown or len(dates) < 2:
        return None
    pipelines = list(dict.fromkeys(matrix.index.get_level_values("pipeline")))
    content = tuple(
        (TableCell(pipeline), TableCell(detector), *(TableCell(float(row[name])) for name in dates))
        for pipeline in pipelines
        for detector, row in matrix.xs(pipeline, level="pipeline").iterrows()
    )
    columns = (
        Column("pipeline"),
        Column(DETECTOR),
        *(Column(f"{name} ({day:%Y-%m})", 1, compared=True) for name, day in dates.items()),
    )
    measured = conditions(runs)
    caption = (
        "Balanced accuracy in per cent on the fakes of each generator and their real images, in the order of the "
        f"generators' release; the best detector in bold. {measured}{'.' if measured else ''}"
    )
    return with_best(
        Table("chronology", "Generators in the order of their release", caption, columns, content),
        within=(0,),
    )


def _dates_of_scenarios(runs: JoinedRuns) -> Mapping[str, date]:
    found: dict[str, date] = {}
    for run in runs.runs:
        written = (run.info.scenario.protocol or {}).get("released")
        if isinstance(written, dict):
            found |= {name: date.fromisoformat(str(day)) for name, day in written.items()}
    return found
