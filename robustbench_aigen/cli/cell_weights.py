"""How much of a task's time an image is, where some cells take longer than others."""

from collections.abc import Mapping


class CellWeights:
    """What an image of the cell at work counts for; 1 where nothing is known, and 1 on average.

    The time left of a task follows from the counts of its unfinished images.
    """

    def __init__(self) -> None:
        self._seconds: Mapping[tuple[str, str], float] = {}
        self._mean, self.current = 1.0, 1.0

    def clear(self) -> None:
        """Know nothing: another task begins."""
        self.expect({})

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Take over how long an image takes in each cell, all of which have as many images."""
        total = sum(seconds.values())
        self._seconds = seconds if total > 0 else {}
        self._mean, self.current = (total / len(seconds) if total > 0 else 1.0), 1.0

    def work_on(self, detector: str, pipeline: str) -> None:
        """Go on to another cell."""
        self.current = self._seconds.get((detector, pipeline), self._mean) / self._mean
