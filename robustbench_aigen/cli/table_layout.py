"""Layouts of tables for a terminal width: whole, with cells below their row, or stacked.

No cell is ever left out or cut off. A word is broken only where it is longer than the whole line.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

_GAP = 2
_MARGIN = 1
_INDENT = 2
_PROSE = 24
"""Minimum width of a long text beside other cells; a narrower cell goes below its row."""
_NUMBER = re.compile(
    r"(?:[<>≤≥~] ?)?[-+−]?(?:\d[\d.,]*(?:e[-+]?\d+)?|inf|nan|∞)(?:[-–…/][-−]?\d[\d.,]*)?(?: ?%)?\**",
    re.IGNORECASE,
)
_BREAKS = ",/[=_-+·:;\\"
"""Characters after which a long word is broken, if it has one."""


class TextLine(NamedTuple):
    """One printed line."""

    text: str
    is_bold: bool = False


class _Column(NamedTuple):
    title: str
    cells: list[str]
    is_text: bool
    natural: int
    least: int


class Grouped(NamedTuple):
    """Rows under the names of their groups: a name a row, and how the rows of a group are indented."""

    names: Sequence[str]
    indent: int


def lay_out(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    groups: Sequence[str] | None = None,
) -> list[TextLine]:
    """Return the lines of a table.

    Parameters
    ----------
    titles, rows
        The content; rows are as long as ``titles``.
    width
        Columns of the terminal; None for a file or a pipe, where every row is one line.
    groups
        A name for each row; a name is written once, above the rows that share it.
    """
    columns = [_column(title, [row[place] for row in rows], width) for place, title in enumerate(titles)]
    indent = _MARGIN + (_INDENT if groups is not None else 0)
    inside, below = list(range(len(columns))), list[int]()
    while width is not None and _total(columns, inside) + indent + (_INDENT if 0 in below else 0) > width:
        movable = [place for place in inside if columns[place].is_text]
        if not movable or len(inside) == 1:
            return _stacked(columns, len(rows), width, groups)
        widest = max(movable, key=lambda place: columns[place].least)
        inside.remove(widest)
        below.append(widest)
    shown = Grouped(groups, indent) if groups is not None else None
    return _table(columns, len(rows), inside, sorted(below), width, shown)


def wrap(text: str, width: int, *, breaks_words: bool = True) -> list[str]:
    """Break text at spaces into lines of at most ``width`` columns, and longer words inside by default."""
    lines, line = list[str](), ""
    for piece in re.findall(r"\s+|\S+", text):
        if cell_len(line + piece) <= width:
            line += piece
        elif piece.isspace():
            lines.append(line)
            line = ""
        else:
            if line.strip():
                lines.append(line.rstrip())
            *full, line = _broken(piece, width) if breaks_words else [piece]
            lines += full
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _broken(word: str, width: int) -> list[str]:
    parts = []
    while cell_len(word) > width:
        end = 1
        while end < len(word) and cell_len(word[: end + 1]) <= width:
            end += 1
        natural = max((word.rfind(sign, 0, end) + 1 for sign in _BREAKS), default=0)
        end = natural if natural > end // 2 else end
        parts.append(word[:end])
        word = word[end:]
    return [*parts, word]


def _column(title: str, cells: list[str], width: int | None) -> _Column:
    is_text = not all(_NUMBER.fullmatch(cell) for cell in cells if cell)
    natural = max(cell_len(text) for text in (title, *cells))
    if width is None:
        least = natural
    elif not is_text:
        least = max(cell_len(text) for text in (*title.split(), *cells, ""))
    else:
        longest = max((cell_len(word) for text in (title, *cells) for word in text.split()), default=0)
        least = max(longest, min(natural, _PROSE))
    return _Column(title, cells, is_text, natural, least)


def _total(columns: Sequence[_Column], inside: Sequence[int]) -> int:
    return sum(columns[place].least for place in inside) + _GAP * (len(inside) - 1)


def _widths(columns: Sequence[_Column], inside: Sequence[int], room: int | None) -> dict[int, int]:
    """Give every column its minimum width, and the remaining width to columns with longer texts."""
    widths = {place: columns[place].least for place in inside}
    if room is None:
        return widths
    spare = room - _total(columns, inside)
    # The titles of numbers first, since each of their lines costs a line of the table.
    for place in inside:
        if not columns[place].is_text:
            more = min(spare, columns[place].natural - widths[place])
            widths[place] += more
            spare -= more
    wanting = [place for place in inside if widths[place] < columns[place].natural]
    while spare and wanting:
        # The text with the most lines gets the next column, so that a row has as few lines as possible.
        tallest = max(wanting, key=lambda place: columns[place].natural / widths[place])
        widths[tallest] += 1
        spare -= 1
        wanting = [place for place in wanting if widths[place] < columns[place].natural]
    return widths


def _table(
    columns: Sequence[_Column],
    count: int,
    inside: Sequence[int],
    below: Sequence[int],
    width: int | None,
    groups: Grouped | None,
) -> list[TextLine]:
    # The first column names the row: without room beside the other columns, its text goes above them.
    is_above, indent = 0 in below, groups.indent if groups is not None else _MARGIN
    own = indent + (_INDENT if is_above else 0)
    widths = _widths(columns, inside, None if width is None else width - own)
    titles = {place: wrap(columns[place].title, widths[place]) for place in inside}
    height = max(len(lines) for lines in titles.values())
    bottom = {place: [""] * (height - len(lines)) + lines for place, lines in titles.items()}
    margin = _MARGIN if groups is not None and not is_above else own
    lines = _folded(columns[0].title, width, _MARGIN, is_bold=True) if is_above else []
    lines += [
        TextLine(text, is_bold=True)
        for text in _side_by_side(columns, inside, widths, bottom, margin, own - margin)
    ]
    lines.append(
        TextLine(" " * _MARGIN + "─" * (own - _MARGIN + sum(widths.values()) + _GAP * (len(inside) - 1)))
    )
    last: object = None
    for row in range(count):
        if groups is not None and groups.names[row] != last:
            last = groups.names[row]
            lines += _folded(str(last), width, _MARGIN, is_bold=True)
        if is_above:
            lines += _folded(columns[0].cells[row], width, indent)
        cells = {place: wrap(columns[place].cells[row], widths[place]) for place in inside}
        if any(part for parts in cells.values() for part in parts):
            lines += [TextLine(text) for text in _side_by_side(columns, inside, widths, cells, own, 0)]
        for place in below:
            if place and columns[place].cells[row]:
                lines += _folded(f"{columns[place].title}: {columns[place].cells[row]}", width, own + _INDENT)
    return lines


def _side_by_side(
    columns: Sequence[_Column],
    inside: Sequence[int],
    widths: dict[int, int],
    cells: dict[int, list[str]],
    margin: int,
    widened: int,
) -> list[str]:
    """Join the lines of some cells; the first column is wider by ``widened``, to begin where a group's name does."""
    lines = []
    for number in range(max(len(parts) for parts in cells.values())):
        texts = []
        for place in inside:
            text = cells[place][number] if number < len(cells[place]) else ""
            room = widths[place] + (widened if place == inside[0] else 0)
            filling = " " * (room - cell_len(text))
            texts.append(text + filling if columns[place].is_text else filling + text)
        lines.append((" " * margin + (" " * _GAP).join(texts)).rstrip())
    return lines


def _stacked(
    columns: Sequence[_Column], count: int, width: int, groups: Sequence[str] | None
) -> list[TextLine]:
    """A block for each row: its first cell, and the others below with their titles."""
    labels = max((cell_len(column.title) for column in columns[1:]), default=0)
    lines, last = list[TextLine](), ""
    for row in range(count):
        if groups is not None and groups[row] != last:
            last = groups[row]
            lines += _folded(last, width, _MARGIN, is_bold=True)
        indent = _MARGIN + (_INDENT if groups is not None else 0)
        first = f"{columns[0].title}: {columns[0].cells[row]}"
        lines += _folded(first, width, indent, is_bold=groups is None)
        indent += _INDENT
        room = width - indent - labels - _GAP
        for column in columns[1:]:
            text = column.cells[row]
            if not text:
                continue
            if max((cell_len(word) for word in text.split()), default=0) <= room:
                title = column.title + " " * (labels - cell_len(column.title) + _GAP)
                start, *others = wrap(text, room)
                lines.append(TextLine(" " * indent + title + start))
                lines += [TextLine(" " * (width - room) + part) for part in others]
            else:
                lines += _folded(f"{column.title}:", width, indent)
                lines += _folded(text, width, indent + _INDENT)
    return lines


def _folded(text: str, width: int | None, indent: int, *, is_bold: bool = False) -> list[TextLine]:
    if width is None:
        return [TextLine(" " * indent + text, is_bold)]
    return [TextLine(" " * indent + part, is_bold) for part in wrap(text, max(width - indent, 2))]
