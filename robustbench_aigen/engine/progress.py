"""What a run tells whoever watches it."""

from typing import Protocol


class Progress(Protocol):
    """Receives the course of a run; the command line draws it, a test or a notebook may ignore it."""

    def start(self, images: int) -> None:
        """So much work begins: images times cells."""

    def work_on(self, detector: str, pipeline: str) -> None:
        """The cell that the next images belong to."""

    def advance(self, images: int) -> None:
        """So many more images of the cell are done."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """Tells nobody."""

    def start(self, images: int) -> None:
        """Do nothing."""

    def work_on(self, detector: str, pipeline: str) -> None:
        """Do nothing."""

    def advance(self, images: int) -> None:
        """Do nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""
