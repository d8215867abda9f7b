"""The progress of a command, drawn on standard error."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from robustbench_aigen.cli.cell_weights import CellWeights
from robustbench_aigen.cli.streams import written
from robustbench_aigen.notices import Notice


class ProgressBar:
    """A bar with the time left, which names the cell at work; notices are lines above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, force_terminal=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # What is printed to a file meanwhile goes there, not above the bar.
        self._progress = Progress(
            *columns, console=self._console, transient=True, redirect_stdout=sys.stdout.isatty()
        )
        self._task: TaskID | None = None
        self._weights = CellWeights()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, images: int) -> None:
        """Begin a bar of this many images; with none it only shows that something is computed."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task("", total=images or None)
        self._weights.clear()

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Set the seconds per image of each cell, so that the bar moves with the time."""
        self._weights.expect(seconds)

    def work_on(self, detector: str, pipeline: str) -> None:
        """Name the cell, or the step, that is computed next."""
        self._weights.work_on(detector, pipeline)
        if self._task is not None:
            name = " · ".join(part for part in (detector, pipeline) if part)
            self._progress.update(self._task, description=escape(written(name, self._console.encoding)))

    def advance(self, images: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, images * self._weights.current)

    def notice(self, text: str) -> None:
        """Print a line above the bar."""
        notice = Notice(text)
        shown = written(f"warning: {notice}" if notice.is_warning else notice, self._console.encoding)
        style = "bold yellow" if notice.is_warning else None
        self._console.print(shown, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)
