"""Search for files below a folder, through links, without hidden places and run folders."""
# ruff: noqa: PTH110, PTH122, PTH206  Paths are text here: a folder may have 100,000 files.

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.words import printable

_PLACES = 1_000
"""Largest number of links to one folder; more could grow without end."""
_SYSTEM = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"})
"""Folders that systems and archivers make: hidden ones under another name."""


class FoundFile(NamedTuple):
    """A file below a folder, and whether a link leads to it or to a folder above it."""

    path: str
    name: str
    is_linked: bool


class Walk:
    """All files at any depth below a folder, except hidden ones and those of run folders.

    Results may lie beside the images, so run folders are skipped.

    Parameters
    ----------
    folder
        The root.
    once
        Whether a folder to which several links lead is entered once, or at each of its places.

    Attributes
    ----------
    files
        The found files, in no particular order.
    hidden
        Suffixes of the files in hidden places, counted by the place's name.
    loops, dangling
        Links that lead to a folder they are in, and links that lead nowhere, relative to the root.

    Raises
    ------
    UserError
        If a folder cannot be read.
    """

    def __init__(self, folder: Path, *, once: bool = False) -> None:
        self._root, self._once = str(folder), once
        self._visits: Counter[str] = Counter()
        self.files: list[FoundFile] = []
        self.hidden: dict[str, Counter[str]] = {}
        self.loops: list[str] = []
        self.dangling: list[str] = []
        real = os.path.realpath(folder)
        self._enter(str(folder), real, (real,), is_linked=False)

    def _enter(self, folder: str, real: str, above: tuple[str, ...], *, is_linked: bool) -> None:
        self._visits[real] += 1
        if self._once and self._visits[real] > 1:
            return
        if self._visits[real] > _PLACES:
            raise UserError(
                f"more than {_PLACES:,} links lead to it",
                file=printable(real),
                hint="remove the links between folders",
            )
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            # What is in it would be missing without a word.
            raise UserError(f"cannot be read: {error.strerror}", file=printable(folder)) from error
        if {"run.json", "summary.csv"} <= {entry.name for entry in entries}:
            return
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SYSTEM:
                self._pass_over(entry)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                self.dangling.append(self._relative(entry.path))
            elif entry.is_dir():
                self._descend(entry, real, above, is_linked=is_linked)
            elif entry.is_file():
                self.files.append(FoundFile(entry.path, entry.name, is_linked or entry.is_symlink()))

    def _descend(
        self, entry: os.DirEntry[str], real: str, above: tuple[str, ...], *, is_linked: bool
    ) -> None:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in above:
                self.loops.append(self._relative(entry.path))
                return
            is_linked = True
        else:
            target = f"{real.rstrip(os.sep)}{os.sep}{entry.name}"
        self._enter(entry.path, target, (*above, target), is_linked=is_linked)

    def _pass_over(self, entry: os.DirEntry[str]) -> None:
        """Count what a hidden place holds, by suffix; a repository's objects are skipped."""
        if entry.name == ".git" or entry.name.startswith("._"):
            return
        if not entry.is_dir(follow_symlinks=False):
            self._count("hidden files", entry.name)
            return
        for _, folders, names in os.walk(entry.path):
            folders[:] = [name for name in folders if name != ".git"]
            for name in names:
                if not name.startswith("._"):
                    self._count(entry.name, name)

    def _count(self, place: str, name: str) -> None:
        self.hidden.setdefault(printable(place), Counter())[os.path.splitext(name)[1].lower()] += 1

    def _relative(self, path: str) -> str:
        return printable(os.path.relpath(path, self._root))


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files with one of some suffixes at any depth, sorted, each folder once, also with several links to it.

    Raises
    ------
    UserError
        If a folder cannot be read.
    """
    wanted = tuple(suffixes)
    walked = _WALKED.get()
    files = walked.get(folder) if walked is not None else None
    if files is None:
        files = Walk(folder, once=True).files
    if walked is not None:
        walked[folder] = files
    return in_order(file.path for file in files if os.path.splitext(file.name)[1].lower() in wanted)


_WALKED: ContextVar[dict[Path, list[FoundFile]] | None] = ContextVar("_WALKED", default=None)


@contextmanager
def walked_once() -> Iterator[None]:
    """Cache :func:`files_below` inside the context, so that each folder is read once."""
    before = _WALKED.set({})
    try:
        yield
    finally:
        _WALKED.reset(before)


def in_order(paths: Iterable[str]) -> list[Path]:
    """Return paths sorted as pathlib sorts them: folder by folder."""
    return [Path(path) for path in sorted(paths, key=lambda path: path.split(os.sep))]
