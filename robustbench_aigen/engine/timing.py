"""Times of the steps of a run outside its cells."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from robustbench_aigen.runs.info import TimingInfo
from robustbench_aigen.runs.timings import step_row


class Steps:
    """Timed steps, as rows like those of cells.

    Attributes
    ----------
    rows
        Rows of ``timings``; columns that only cells have are empty.
    """

    def __init__(self) -> None:
        self.rows: list[TimingInfo] = []

    @contextmanager
    def timed(self, step: str, detector: str = "") -> Iterator[None]:
        """Time a block."""
        clock = time.perf_counter()
        yield
        self.add(step, time.perf_counter() - clock, detector)

    def add(self, step: str, seconds: float, detector: str = "") -> None:
        """Add a step that took some seconds."""
        self.rows.append(step_row(step, seconds, detector))
