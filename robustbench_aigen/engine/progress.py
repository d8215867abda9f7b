"""What a run tells whoever watches it."""

from typing import Protocol


class Progress(Protocol):
    """Receives the course of a run; the command line draws it, a test or a notebook may ignore it."""

    def start(self, cells: int) -> None:
        """A run of so many cells begins."""

    def start_cell(self, detector: str, pipeline: str, images: int) -> None:
        """A cell of so many images begins."""

    def advance(self, images: int) -> None:
        """So many more images of the cell are done."""

    def notice(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """Tells nobody."""

    def start(self, cells: int) -> None:
        """Do nothing."""

    def start_cell(self, detector: str, pipeline: str, images: int) -> None:
        """Do nothing."""

    def advance(self, images: int) -> None:
        """Do nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""
