"""How long the steps of a run take beside its cells."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from robustbench_aigen.runs.timings import step_row


class Steps:
    """Timed steps, as rows like those of cells.

    Attributes
    ----------
    rows
        ``step``, ``detector``, ``seconds`` and the other keys of a cell's timing, which are empty.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def timed(self, step: str, detector: str = "") -> Iterator[None]:
        """Time a block."""
        clock = time.perf_counter()
        yield
        self.add(step, time.perf_counter() - clock, detector)

    def add(self, step: str, seconds: float, detector: str = "") -> None:
        """Add a step that took some seconds."""
        self.rows.append(step_row(step, seconds, detector))
