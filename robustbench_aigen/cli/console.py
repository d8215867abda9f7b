"""Text, tables and JSON on the terminal."""

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from robustbench_aigen.cli.streams import written
from robustbench_aigen.notices import Notice

if TYPE_CHECKING:
    import pandas as pd

_NARROWEST = 20
_STYLES = {"bold": "1", "warning": "1;33", "failure": "1;31"}


def say(text: object = "", *, err: bool = False, style: str = "") -> None:
    """Print lines of text; names in it from files and folders cannot control the terminal.

    Parameters
    ----------
    text
        The text to print.
    err
        Whether to standard error.
    style
        ``bold``, ``warning`` or ``failure``, where colours are shown.
    """
    stream = sys.stderr if err else sys.stdout
    has_colours, width = bool(style) and _has_colours(stream), terminal_width(stream)
    for line in str(text).split("\n"):
        for shown in _folded(written(line, stream.encoding), width):
            print(f"\x1b[{_STYLES[style]}m{shown}\x1b[0m" if has_colours else shown, file=stream)


def say_notice(text: str, *, err: bool = False) -> None:
    """Print a notice, with the prefix ``warning:`` for warnings."""
    notice = Notice(text)
    say(f"warning: {notice}" if notice.is_warning else notice, err=err, style="warning" * notice.is_warning)


def say_notices(notices: Iterable[str], *, err: bool = False) -> None:
    """Print all of some notices."""
    for notice in dict.fromkeys(map(Notice, notices)):
        say_notice(notice, err=err)


def say_warnings(notices: Iterable[str], *, err: bool = False) -> None:
    """Repeat the warnings among some notices, below a result."""
    for notice in dict.fromkeys(map(Notice, notices)):
        if notice.is_warning:
            say_notice(notice, err=err)


def print_table(
    table: "pd.DataFrame | Sequence[Mapping[str, object]]", title: str = "", group: str | None = None
) -> None:
    """Print a frame of text, or rows with the same keys, as a table that fits the terminal.

    Into a file or a pipe every row is whole. On a terminal texts are folded; where that is not enough, long cells go
    below their row, and in the end every row becomes a block of lines. Nothing is left out. Columns of numbers are flushed right.

    Parameters
    ----------
    table, title
        The table to print, and the line above the table.
    group
        A column whose value is printed once, above the rows that share it.
    """
    from robustbench_aigen.cli.table_layout import lay_out, wrap

    encoding, width = sys.stdout.encoding, terminal_width(sys.stdout)
    # A frame cannot hold names of files that are not UTF-8.
    content = table if isinstance(table, Sequence) else table.to_dict(orient="records")
    known = (content[0] if content else {}) if isinstance(table, Sequence) else table.columns
    columns = [column for column in known if column != group]
    rows = [[written(str(row[column]), encoding) for column in columns] for row in content]
    groups = None if group is None else [written(str(row[group]), encoding) for row in content]
    titles = [written(str(column), encoding) for column in columns]
    if title:
        heading = written(title, encoding)
        say("\n".join([heading] if width is None else wrap(heading, width)), style="bold")
        say()
    for line in lay_out(titles, rows, width, groups):
        say(line.text, style="bold" if line.is_bold else "")
    say()


def print_json(content: object) -> None:
    """Print JSON to standard output, in ASCII; numbers that JSON has not are null."""
    print(json.dumps(_plain(content), indent=2, allow_nan=False, default=str))


def terminal_width(stream: TextIO) -> int | None:
    """Return the columns of the terminal that a stream writes to, None for a file or a pipe."""
    if not stream.isatty():
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def is_live(stream: TextIO) -> bool:
    """Whether lines of a stream can be written over: not in a file, in a log, or on a terminal without cursor."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "") not in ("dumb", "unknown")
        and os.environ.get("CI", "").lower() in ("", "0", "false")
    )


def _folded(line: str, width: int | None) -> list[str]:
    """Fold a sentence at its spaces; a path that is longer than the line stays whole, to be copied."""
    if width is None or len(line) <= width // 2:
        return [line]
    from rich.cells import cell_len

    from robustbench_aigen.cli.table_layout import wrap

    if cell_len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return [indent + part for part in wrap(line.strip(), width - len(indent), breaks_words=False)]


def _has_colours(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _plain(content: object) -> object:
    """Return content for JSON: string keys and finite Python numbers."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [_plain(value) for value in content]
    if hasattr(content, "item") and getattr(content, "shape", None) == ():  # A number of NumPy.
        content = content.item()
    return None if isinstance(content, float) and not math.isfinite(content) else content
