"""The progress of a run, drawn on standard error."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBar:
    """A bar with the time left, which names the cell at work; plain lines of notice above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Into a file only the notices go: bars would leave control characters and empty lines there.
        hidden = not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, transient=True, disable=hidden)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, images: int) -> None:
        """Begin a bar of so many images."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task("", total=images)

    def work_on(self, detector: str, pipeline: str) -> None:
        """Name the cell at work."""
        if self._task is not None:
            self._progress.update(self._task, description=escape(f"{detector} · {pipeline}"))

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, images)

    def notice(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
