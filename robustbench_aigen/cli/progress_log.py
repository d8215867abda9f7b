"""The progress of a command where lines cannot be written over: in a file, a pipe, the log of a build."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from robustbench_aigen.cli.cell_weights import CellWeights
from robustbench_aigen.cli.console import say, say_notice

PERIOD = 30.0
"""Seconds between two lines."""
_WARMING_UP = 2.0
"""First seconds of a task, in which cached results arrive; they are left out of the pace."""
_WINDOW = 10
"""Number of lines over which the pace is measured."""


class _Mark(NamedTuple):
    seconds: float
    done: float


class ProgressLog:
    """A line on standard error every half minute: what is computed, how far, and how long it may still take.

    Parameters
    ----------
    clock
        Returns seconds.
    say_line
        Prints a line.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        say_line: Callable[[str], None] = lambda text: say(text, err=True),
    ) -> None:
        self._clock, self._say = clock, say_line
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._what, self._total, self._done = "", 0, 0
        # Images are counted; the time left is that of images by what they count for.
        self._weights, self._weighed = CellWeights(), 0.0
        self._began = self._said = clock()
        self._marks: deque[_Mark] = deque(maxlen=_WINDOW)

    def __enter__(self) -> Self:
        # A thread, because one batch of an attack may take minutes.
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def start(self, images: int) -> None:
        """Start a task of this many images."""
        with self._lock:
            self._total, self._done, self._weighed = images, 0, 0.0
            self._began = self._clock()
            self._marks.clear()
            self._weights.clear()

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Set the seconds per image of each cell."""
        with self._lock:
            self._weights.expect(seconds)

    def work_on(self, detector: str, pipeline: str) -> None:
        """Name the cell, or the step, that is computed next."""
        with self._lock:
            self._what = " · ".join(name for name in (detector, pipeline) if name)
            self._weights.work_on(detector, pipeline)

    def advance(self, images: int) -> None:
        """Add finished images."""
        with self._lock:
            now, weighed = self._clock(), images * self._weights.current
            if not self._marks or (len(self._marks) == 1 and now - self._began < _WARMING_UP):
                self._marks.clear()
                # What took longer than the warming up counts from the beginning.
                is_early = now - self._began < _WARMING_UP
                self._marks.append(
                    _Mark(now, self._weighed + weighed) if is_early else _Mark(self._began, self._weighed)
                )
            self._done += images
            self._weighed += weighed
            self.tick()

    def notice(self, text: str) -> None:
        """Print a notice."""
        say_notice(text, err=True)

    def tick(self) -> None:
        """Print a line if half a minute has passed since the last."""
        with self._lock:
            now = self._clock()
            if now - self._said < PERIOD:
                return
            self._said = now
            self._say(self._line(now))
            if self._marks:
                self._marks.append(_Mark(now, self._weighed))

    def _line(self, now: float) -> str:
        what = self._what or "working"
        if not self._total:
            return f"{what}: {duration(now - self._began)} elapsed"
        share = 100 * self._done // self._total
        return (
            f"{what}: {self._done} of {self._total} images ({share} %), {duration(now - self._began)} elapsed, "
            f"{self._left(now)}"
        )

    def _left(self, now: float) -> str:
        for mark in self._marks:
            if self._weighed > mark.done and now > mark.seconds:
                pace = (self._weighed - mark.done) / (now - mark.seconds)
                return f"about {duration(max(0.0, self._total - self._weighed) / pace)} left"
        return "no estimate yet"

    def _watch(self) -> None:
        while not self._ended.wait(max(0.1, self._said + PERIOD - self._clock())):
            self.tick()


def duration(seconds: float) -> str:
    """Return a duration as text.

    >>> duration(75), duration(3_700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
