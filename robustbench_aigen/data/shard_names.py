"""Names of several files in one: ``train-{000000..000009}.tar``, ``{a,b}.parquet``, ``shards/*.tar``."""

import re
from collections.abc import Iterator
from pathlib import Path

from robustbench_aigen.errors import UserError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST = 100_000


def names_several(path: str) -> bool:
    """Whether a path has braces or a wildcard in it."""
    return _BRACES.search(path) is not None or any(sign in path for sign in "*?[")


def expanded(path: Path) -> list[Path]:
    """Return the files that a path with braces or wildcards names, in the order of the braces, then of their names.

    Raises
    ------
    UserError
        If one of the files that braces name is not there, or none matches a wildcard.
    """
    files: list[Path] = []
    for name in _alternatives(str(path)):
        if any(sign in name for sign in "*?["):
            place = Path(name)
            root = Path(place.anchor or ".")
            files += sorted(
                file for file in root.glob(str(place.relative_to(place.anchor))) if file.is_file()
            )
        elif Path(name).is_file():
            files.append(Path(name))
        else:
            raise UserError(
                f"no file '{name}'", hint="remove this file from the braces, or download this file"
            )
    if not files:
        raise UserError(f"no file matches '{path}'")
    return files


def _alternatives(text: str) -> Iterator[str]:
    match = _BRACES.search(text)
    if match is None:
        yield text
        return
    for choice in _choices(match[1]):
        yield from _alternatives(text[: match.start()] + choice + text[match.end() :])


def _choices(text: str) -> Iterator[str]:
    numbers = _RANGE.fullmatch(text)
    if numbers is None:
        yield from text.split(",")
        return
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= _MOST:
        raise UserError(f"'{{{text}}}' names more than {_MOST:,} files")
    # The first number says how many digits there are.
    for number in range(first, last + 1) if first <= last else range(first, last - 1, -1):
        yield f"{number:0{len(numbers[1])}}"
