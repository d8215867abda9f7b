"""Tables and JSON on the terminal."""

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import JustifyMethod

_TEXT_COLUMNS = {
    "detector",
    "generator",
    "pipeline",
    "split",
    "name",
    "summary",
    "trust",
    "source",
    "backends",
    "norms",
    "scenario",
    "parameters",
    "access",
    "summary and parameters",
    "verdict",
    "metric",
    "images of",
    "limit",
    "started",
    "of",
    "write",
    "what",
    "gradients",
    "--trust-code",
    "architecture",
    "trained on",
    "class",
    "format",
    "size",
    "metadata",
    "fact",
    "kind",
    "image",
}
_UNBROKEN = {"name", "norms", "access"}
"""Columns of text that are short and looked up: they are not folded."""
_WIDEST = {"backends": 13}
"""Columns that fold at a comma on a terminal, to leave room for prose."""


def print_table(table: "pd.DataFrame", title: str, group: str | None = None) -> None:
    """Print a frame of text as a table; columns of numbers are flushed right.

    Parameters
    ----------
    table, title
        What to print, and the line above it.
    group
        A column whose value is printed once, above the rows that share it.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            # rich would exit with 1, which is the gate's.
            raise BrokenPipeError

    columns = [column for column in table.columns if column != group]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        is_text = column in _TEXT_COLUMNS
        # The name of a group stands in the first column: it is not broken for the want of a few characters.
        names = table[group].unique() if group is not None and column == columns[0] else []
        widest = min(24, max((len(str(name)) for name in names), default=0)) or None
        justify: JustifyMethod = "left" if is_text else "right"
        shown.add_column(
            column,
            justify=justify,
            overflow="fold",
            no_wrap=not is_text or column in _UNBROKEN,
            min_width=widest,
            max_width=_WIDEST.get(column) if sys.stdout.isatty() else None,
        )
    last: object = None
    for row in table.to_dict(orient="records"):
        if group is not None and row[group] != last:
            last = row[group]
            shown.add_row(Text(str(last), style="bold"))
        indent = "  " if group is not None else ""
        shown.add_row(
            *(Text((indent if place == 0 else "") + str(row[column])) for place, column in enumerate(columns))
        )
    # Into a file or a pipe nothing is folded.
    console = _Console() if sys.stdout.isatty() else _Console(width=200)
    console.print(Text(title, style="bold"))
    console.print(shown)


def print_json(content: Any) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=2, default=str))
