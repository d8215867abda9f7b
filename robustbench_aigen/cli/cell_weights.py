"""Weights of images in a progress bar, for cells that take different times."""

from collections.abc import Mapping


class CellWeights:
    """Weight of an image of the current cell: 1 on average, and 1 if no times are known.

    The time left of a task follows from the counts of its unfinished images.
    """

    def __init__(self) -> None:
        self._seconds: Mapping[tuple[str, str], float] = {}
        self._mean, self.current = 1.0, 1.0

    def clear(self) -> None:
        """Forget all times, at the start of another task."""
        self.expect({})

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Set the seconds per image of each cell; all cells have the same number of images."""
        total = sum(seconds.values())
        self._seconds = seconds if total > 0 else {}
        self._mean, self.current = (total / len(seconds) if total > 0 else 1.0), 1.0

    def work_on(self, detector: str, pipeline: str) -> None:
        """Change the current cell."""
        self.current = self._seconds.get((detector, pipeline), self._mean) / self._mean
