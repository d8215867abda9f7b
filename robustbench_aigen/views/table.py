"""Tables of a report, independent of their output format, and the registry of all tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.registry import Registry
from robustbench_aigen.views.making import Maker, register

ONE_CLASS_MARK = "‡"
ONE_CLASS_NOTE = (
    f"{ONE_CLASS_MARK} gives nearly every image the same verdict; its accuracy is the class balance"
)
DIFFERENT_IMAGES_NOTE = "the runs are on different images, so no best detector is marked"
DETECTOR = "detector"


def percent(value: float, digits: int = 1) -> str:
    """Return a fraction in per cent as text; empty for NaN.

    >>> percent(0.8765), percent(float("nan"))
    ('87.6', '')
    """
    return "" if math.isnan(value) else f"{100 * value:.{digits}f}"


class TableCell(NamedTuple):
    """One cell: text or a number (NaN: empty), whether it is the best of its kind, and a mark after it."""

    value: str | float
    best: bool = False
    mark: str = ""


class Column(NamedTuple):
    """A column: its title, and how many decimals its numbers have; None for a column of text.

    ``compared`` columns have their largest number in bold; the title of an ``is_detector`` column is a detector's name.
    """

    title: str
    digits: int | None = None
    compared: bool = False
    mark: str = ""
    is_detector: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Parameters
    ----------
    name
        Stem of its files.
    title, caption
        Title and caption; the caption ends with the conditions of the measurement.
    columns, rows
        Its content; rows are as long as ``columns``.
    notes
        The meaning of the marks.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()

    def text(self, row: int, column: int) -> str:
        """Return a cell's number or text, without its mark."""
        value, digits = self.rows[row][column].value, self.columns[column].digits
        if isinstance(value, str):
            return value
        return "" if digits is None or math.isnan(value) else _rounded(value, digits)

    def marked_columns(self) -> list[int]:
        """Return the places of the columns of numbers that have a mark somewhere."""
        return [
            place
            for place, column in enumerate(self.columns)
            if column.digits is not None and any(row[place].mark for row in self.rows)
        ]

    def frame(self) -> pd.DataFrame:
        """Return the table as text, without marks."""
        content = [
            [self.text(row, column) for column in range(len(self.columns))] for row in range(len(self.rows))
        ]
        return pd.DataFrame(content, columns=[column.title for column in self.columns])


TABLES: Registry[Maker[Table]] = Registry("table", "robustbench_aigen.views.tables")
table = register(TABLES)
"""Register ``(runs: JoinedRuns) -> Table | None`` as a table of reports: ``@table(order=25)``."""


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def with_best(table: Table, within: Sequence[int] = ()) -> Table:
    """Return a table with the largest number of each compared column in bold.

    Parameters
    ----------
    table
        Without any.
    within
        Columns whose values make the groups that are compared: the detectors under one pipeline, for example. Equal
        as shown is equally good; nothing is best where all rows of a group are equal.
    """
    rows = [list(row) for row in table.rows]
    groups: dict[tuple[str | float, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row[column].value for column in within), []).append(number)
    for position, column in enumerate(table.columns):
        if not column.compared:
            continue
        for members in groups.values():
            shown = {number: table.text(number, position) for number in members}
            numbers = {number: float(text) for number, text in shown.items() if text}
            if len(set(numbers.values())) > 1:
                for number, value in numbers.items():
                    if value == max(numbers.values()):
                        rows[number][position] = rows[number][position]._replace(best=True)
    return replace(table, rows=tuple(tuple(row) for row in rows))


def with_best_of_rows(table: Table) -> Table:
    """Return a table with the largest number of each row's compared columns in bold, equals likewise."""
    rows = []
    places = [place for place, column in enumerate(table.columns) if column.compared]
    for number, row in enumerate(table.rows):
        texts = {place: table.text(number, place) for place in places}
        numbers = {place: float(text) for place, text in texts.items() if text}
        best = max(numbers.values(), default=0.0)
        several = len(set(numbers.values())) > 1
        rows.append(
            tuple(
                cell._replace(best=True) if several and numbers.get(place) == best else cell
                for place, cell in enumerate(row)
            )
        )
    return replace(table, rows=tuple(rows))


def without_best(table: Table) -> Table:
    """Return a table with nothing in bold: its rows are on different images."""
    rows = tuple(tuple(cell._replace(best=False) for cell in row) for row in table.rows)
    was_bold = rows != table.rows
    return replace(table, rows=rows, notes=(*table.notes, DIFFERENT_IMAGES_NOTE) if was_bold else table.notes)


def without_empty_columns(table: Table) -> Table:
    """Return a table without the columns that are empty in every row, such as an attack's where none was run."""
    kept = [
        place
        for place in range(len(table.columns))
        if any(table.text(row, place) or table.rows[row][place].mark for row in range(len(table.rows)))
    ]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in table.rows),
    )


def explanations(table: Table, meanings: Mapping[str, str]) -> str:
    """Return the explanations of a table's columns for the caption."""
    shown = {column.title for column in table.columns}
    return "; ".join(meaning for title, meaning in meanings.items() if title in shown)


def with_one_class_marks(table: Table, flagged: Iterable[str]) -> Table:
    """Return a table in which detectors that answer one class bear a mark, and a note that explains it."""
    names = set(flagged)
    columns = tuple(
        column._replace(mark=ONE_CLASS_MARK) if column.is_detector and column.title in names else column
        for column in table.columns
    )
    places = {place for place, column in enumerate(columns) if column.title == DETECTOR}
    rows = tuple(
        tuple(
            cell._replace(mark=ONE_CLASS_MARK) if place in places and cell.value in names else cell
            for place, cell in enumerate(row)
        )
        for row in table.rows
    )
    is_marked = columns != table.columns or rows != table.rows
    notes = (*table.notes, ONE_CLASS_NOTE) if is_marked else table.notes
    return replace(table, columns=columns, rows=rows, notes=notes)
