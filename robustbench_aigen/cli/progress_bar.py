"""The progress of a run, drawn on standard error."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBar:
    """A bar for all cells and one, with the time left, for the cell at work; plain lines of notice above them."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Into a file only the notices go: bars would leave control characters and empty lines there.
        hidden = not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, transient=True, disable=hidden)
        self._cells: TaskID | None = None
        self._cell: TaskID | None = None
        self._left = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, cells: int) -> None:
        """Begin the bar of all cells."""
        self._close_cell()
        self._cells = self._progress.add_task("cells", total=cells)

    def start_cell(self, detector: str, pipeline: str, images: int) -> None:
        """Begin the bar of a cell."""
        self._close_cell()
        self._cell = self._progress.add_task(escape(f"{detector} · {pipeline}"), total=images)
        self._left = images

    def advance(self, images: int) -> None:
        """Move the bar of the cell, and with its last image that of all cells."""
        if self._cell is None or images == 0:
            return
        self._progress.advance(self._cell, images)
        self._left -= images
        if self._cells is not None and self._left == 0:
            self._progress.advance(self._cells)

    def notice(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _close_cell(self) -> None:
        if self._cell is not None:
            self._progress.remove_task(self._cell)
            self._cell = None
