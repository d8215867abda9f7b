"""Progress of a run: the interface, and two implementations."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from robustbench_aigen.notices import Notice, about


class Progress(Protocol):
    """Receiver of the progress of a run; the command line shows a bar, tests and notebooks may ignore progress."""

    def start(self, images: int) -> None:
        """Start a task of this many images (times cells, or epochs); 0 where there is nothing to count."""

    def expect(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Set the seconds per image of each cell, by detector and pipeline."""

    def work_on(self, detector: str, pipeline: str) -> None:
        """Name the cell, or the step, that is computed next."""

    def advance(self, images: int) -> None:
        """Add finished images of the cell."""

    def notice(self, text: str) -> None:
        """Show a notice to the user: a :class:`~robustbench_aigen.notices.Notice`, or a string as information."""


class Silent:
    """Progress that is ignored."""

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
    """Progress that is passed on, with each notice kept once.

    Parameters
    ----------
    progress
        The receiver of the progress.
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


class WithoutNotices(Recording):
    """Progress that is passed on, without notices: those of a run that is repeated with more images."""

    def notice(self, text: str) -> None:
        """Do nothing."""

    def notice_all(self, notices: Iterable[str]) -> None:
        """Do nothing."""
