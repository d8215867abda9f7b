"""What a run tells whoever watches it."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from robustbench_aigen.notices import Notice, about


class Progress(Protocol):
    """Receives the course of a run; the command line draws it, a test or a notebook may ignore it."""

    def start(self, images: int) -> None:
        """Start a task of this many images (times cells, or epochs); 0 where there is nothing to count."""

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Say how long an image takes in each cell of the task, by detector and pipeline: not all take as long."""

    def work_on(self, detector: str, pipeline: str) -> None:
        """Name the cell, or the step, that is computed next."""

    def advance(self, images: int) -> None:
        """Add finished images of the cell."""

    def notice(self, text: str) -> None:
        """Tell the user something: a :class:`~robustbench_aigen.notices.Notice`, or a string as information."""


class Silent:
    """Tells nobody."""

    def start(self, images: int) -> None:
        """Do nothing."""

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Do nothing."""

    def work_on(self, detector: str, pipeline: str) -> None:
        """Do nothing."""

    def advance(self, images: int) -> None:
        """Do nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""


class Recording:
    """Passes everything on and keeps the notices, each once.

    Parameters
    ----------
    progress
        Who is told.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.notices: list[Notice] = []
        self.start, self.expect = progress.start, progress.expect
        self.work_on, self.advance = progress.work_on, progress.advance

    def notice(self, text: str) -> None:
        """Keep a notice and pass it on."""
        notice = Notice(text)
        if notice not in self.notices:
            self.notices.append(notice)
        self._progress.notice(notice)

    def notice_all(self, notices: Iterable[str]) -> None:
        """Keep each notice, and pass on in one line the information that is the same about several subjects."""
        subjects: dict[Notice, dict[str, None]] = {}
        for text in notices:
            notice = Notice(text)
            if notice not in self.notices:
                self.notices.append(notice)
            is_shared = notice.subject and not notice.is_warning
            key = Notice(notice.text, notice.level) if is_shared else notice
            subjects.setdefault(key, {})[notice.subject] = None
        for notice, names in subjects.items():
            self._progress.notice(notice if notice.subject else about(", ".join(filter(None, names)), notice))
