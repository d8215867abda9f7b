"""Which tables a report has."""

from collections.abc import Iterable
from pathlib import Path

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import conditions
from robustbench_aigen.views.table import Table, with_one_class_marks, without_best
from robustbench_aigen.views.tables import accuracy
from robustbench_aigen.views.tables.degradations import degradation_table
from robustbench_aigen.views.tables.generators import cross_generator_table, generator_table
from robustbench_aigen.views.tables.leaderboard import leaderboard


def report_tables(joined: JoinedRuns) -> list[Table]:
    """Return the tables of a report, the shortest answer first; those that would say nothing are left out."""
    summary, measured = joined.summary, conditions(joined)
    tables = [leaderboard(joined, measured), accuracy.accuracy_table(summary, measured)]
    if len(summary["detector"].unique()) > 1:
        tables.append(accuracy.pipeline_table(summary, measured))
    degraded = degradation_table(summary, measured)
    tables += [degraded] if degraded is not None else []
    if (summary["generator"] != ALL_GENERATORS).any():
        tables += [cross_generator_table(summary, measured), generator_table(summary, measured)]
    if len({run.info.data.fingerprint for run in joined.runs}) > 1:
        tables = [without_best(table) for table in tables]
    flagged = joined.one_class_detectors()
    return [with_one_class_marks(table, flagged) for table in tables]


def write_csv(folder: Path, tables: Iterable[Table]) -> None:
    """Write tables as they are shown into ``NAME.csv``, marks of significance left out: their p-values stand there."""
    for table in tables:
        (folder / f"{table.name}.csv").write_text(csv_of(table.frame()), encoding="utf-8")
