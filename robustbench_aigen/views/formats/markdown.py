"""``report.md``: conditions, tables, trust flags, figures, and the command that repeats the run."""

from collections.abc import Sequence

import pandas as pd

from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.conditions import describe
from robustbench_aigen.views.evidence import NOTHING_FOUND, evidence, not_checked
from robustbench_aigen.views.figure import Drawn
from robustbench_aigen.views.table import Column, Table, TableCell

_LONGEST = 60
"""Rows of a table that is still read in Markdown; longer ones are linked."""


def markdown_report(joined: JoinedRuns, tables: Sequence[Table], figures: Sequence[Drawn] = ()) -> str:
    """Return the Markdown report of runs, with links to their figures and tables in the same folder."""
    parts = [f"# {escaped(', '.join(joined.labels))}"]
    for label, run in zip(joined.labels, joined.runs, strict=True):
        parts += [f"## {escaped(label)}"] if len(joined.runs) > 1 else []
        parts += [escaped(run.info.scenario.summary)]
        parts.append("\n".join(f"- {line.about}: {escaped(line.text)}" for line in describe(run)))
    for table in tables:
        parts += [f"## {escaped(table.title)}", escaped(table.caption)]
        if len(table.rows) > _LONGEST:
            parts.append(f"{len(table.rows)} rows: [tables/{table.name}.csv](tables/{table.name}.csv)")
        else:
            parts += [markdown_table(table), *(escaped(note) for note in table.notes)]
    parts += ["## Figures"] if figures else []
    for figure in figures:
        parts += [f"![{escaped(figure.caption)}](figures/{figure.name}.png)", escaped(figure.caption)]
    parts += ["## Trust flags and warnings", _evidence(joined)]
    commands = [run.info.command or "Computed in Python, with objects in memory" for run in joined.runs]
    parts += ["## Reproduction", "\n".join(f"    {_one_line(command)}" for command in commands)]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """Write a table as Markdown, the best numbers in bold, numbers flushed right."""
    lines = [
        [f"{escaped(column.title)}{escaped(column.mark)}" for column in table.columns],
        ["---" if column.digits is None else "---:" for column in table.columns],
    ]
    lines += [
        [_cell(table, row, column) for column in range(len(table.columns))] for row in range(len(table.rows))
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_frame(frame: pd.DataFrame) -> str:
    """Write a frame of text as Markdown."""
    rows = tuple(tuple(TableCell(str(value)) for value in row) for row in frame.to_numpy().tolist())
    return markdown_table(Table("", "", "", tuple(Column(str(title)) for title in frame.columns), rows))


def escaped(text: str) -> str:
    """Keep text from the user's files from becoming markup."""
    line = _one_line(text).replace("&", "&amp;")
    for character in "\\`*_[]<>|#~$!":
        line = line.replace(character, "\\" + character)
    return line


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _cell(table: Table, row: int, column: int) -> str:
    cell, text = table.rows[row][column], escaped(table.text(row, column))
    return (f"**{text}**" if cell.best and text else text) + escaped(cell.mark if text else "")


def _evidence(joined: JoinedRuns) -> str:
    lines = []
    for found in evidence(joined):
        lines.append(f"- `{found.flag}`: {found.meaning}." if found.meaning else f"- `{found.flag}`")
        lines += [f"  - {escaped(place)}." for place in found.places]
    left = [f"- {escaped(line)}." for line in not_checked(joined)]
    raised = "\n".join(lines) or NOTHING_FOUND
    return "\n\n".join([raised, "Not checked:", "\n".join(left)]) if left else raised
