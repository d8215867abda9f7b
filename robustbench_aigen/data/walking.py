"""Finds files below a folder, through links, past what is not data."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from robustbench_aigen.errors import UserError


def files_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files with one of some suffixes at any depth, sorted.

    Links to folders are followed, each real folder once. Hidden files and folders are passed over, and so are run
    folders: results may stand beside the images they are about.

    Raises
    ------
    UserError
        If a folder cannot be looked into.
    """
    wanted = tuple(suffixes)
    return sorted(file for file in _walk(folder) if file.suffix.lower() in wanted and file.is_file())


def _refuse(error: OSError) -> None:
    """Refuse a folder that cannot be looked into: what is in it would be missing without a word."""
    raise UserError(f"cannot be looked into: {error.strerror}", file=Path(str(error.filename))) from error


def _walk(folder: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(root)
        if real in visited or ("run.json" in files and "summary.csv" in files):
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root) / name for name in files if not name.startswith("."))
