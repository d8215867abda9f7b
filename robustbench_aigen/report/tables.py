"""Which tables a report has."""

from collections.abc import Iterable
from pathlib import Path

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.report import accuracy_tables
from robustbench_aigen.report.degradations import degradation_table
from robustbench_aigen.report.generator_tables import cross_generator_table, generator_table
from robustbench_aigen.report.joined import JoinedRuns
from robustbench_aigen.report.leaderboard import leaderboard
from robustbench_aigen.report.setting import conditions
from robustbench_aigen.report.table import Table, with_one_class_marks, without_best


def report_tables(joined: JoinedRuns) -> list[Table]:
    """Return the tables of a report, the shortest answer first; those that would say nothing are left out."""
    summary, measured = joined.summary, conditions(joined)
    tables = [leaderboard(joined, measured), accuracy_tables.accuracy_table(summary, measured)]
    if len(summary["detector"].unique()) > 1:
        tables.append(accuracy_tables.pipeline_table(summary, measured))
    degraded = degradation_table(summary, measured)
    tables += [degraded] if degraded is not None else []
    if (summary["generator"] != ALL_GENERATORS).any():
        tables += [cross_generator_table(summary, measured), generator_table(summary, measured)]
    if len({run.info["data"]["fingerprint"] for run in joined.runs}) > 1:
        tables = [without_best(table) for table in tables]
    flagged = joined.one_class_detectors()
    return [with_one_class_marks(table, flagged) for table in tables]


def write_csv(folder: Path, tables: Iterable[Table]) -> None:
    """Write tables as they are shown into ``NAME.csv``, marks of significance left out: their p-values stand there."""
    for table in tables:
        (folder / f"{table.name}.csv").write_text(csv_of(table.frame()), encoding="utf-8")
