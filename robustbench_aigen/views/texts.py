"""The part of a report that is text and costs no time: Markdown, and the tables as CSV and LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from robustbench_aigen.runs.joined import JoinedRuns, join_runs
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.contents import report_tables, write_csv
from robustbench_aigen.views.figure import Drawn
from robustbench_aigen.views.formats.latex import latex_document, latex_table
from robustbench_aigen.views.formats.markdown import markdown_report
from robustbench_aigen.views.table import Table

MARKDOWN, LATEX, TABLES = "report.md", "report.tex", "tables"


def write_run_texts(folder: Path) -> list[str]:
    """Write the text files of a run's report into its folder; return a line for each table that fails."""
    joined = join_runs([Run.load(folder)])
    faults: list[str] = []
    write_texts(joined, report_tables(joined, faults), [], folder)
    return faults


def write_texts(joined: JoinedRuns, tables: Sequence[Table], figures: Sequence[Drawn], folder: Path) -> None:
    """Write ``report.md``, ``report.tex`` and a new folder ``tables/`` with a CSV and a LaTeX file each."""
    (folder / TABLES).mkdir()
    write_csv(folder / TABLES, tables)
    for table in tables:
        (folder / TABLES / f"{table.name}.tex").write_text(latex_table(table), encoding="utf-8")
    (folder / LATEX).write_text(latex_document(joined, tables, figures), encoding="utf-8")
    (folder / MARKDOWN).write_text(markdown_report(joined, tables, figures), encoding="utf-8")
