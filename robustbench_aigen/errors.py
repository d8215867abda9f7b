"""Errors that the user can fix: what is wrong, where, and what to type."""

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

_LONGEST, _LONGEST_KEY = 1200, 200
"""Characters of a message and of a key: what a file names may be of any length."""


class Source(NamedTuple):
    """The place of a value in a file: the file, the 1-based line, and the dotted key (``pipelines.pgd[0].eps``).

    A part that is unknown is None; a value that was given in Python has only a key.
    """

    file: Path | None
    line: int | None
    key: str | None


class UserError(Exception):
    """An error in the input, not in the program. The command line prints the message and exits with code 2.

    Parameters
    ----------
    message
        The message, in the user's words.
    file, line, key
        The place: the file, the 1-based line in it, and the dotted key (``pipelines.pgd[0].eps``).
    source
        The file, the line and the key as one object.
    hint
        The text that tells the user what to type or do.
    lines
        Lines to be copied into a file, printed unchanged.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        key: str | None = None,
        source: Source | None = None,
        hint: str | None = None,
        lines: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        if source is not None:
            file, line, key = source
        self.message, self.file, self.line, self.key, self.hint = message, file, line, key, hint
        self.lines = tuple(lines)

    def at(self, source: Source | None) -> "UserError":
        """Return the error with a place; the message keeps an earlier file.

        The error itself is returned for None, and if its own place is a line of the same file.
        """
        if source is None or (source.file is not None and self.file == source.file and self.line is not None):
            return self
        return UserError(self.sentence, source=source, hint=self.hint, lines=self.lines)

    @property
    def sentence(self) -> str:
        """The message with the file and the line that the error names in front."""
        if self.file is None:
            return self.message
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"

    def __str__(self) -> str:
        where = "" if self.file is None else str(self.file)
        if where and self.line is not None:
            where += f":{self.line}"
        parts = [part for part in (where, " ".join(shortened(self.key or "", _LONGEST_KEY).split())) if part]
        text = ": ".join([*parts, shortened(" ".join(self.message.split()), _LONGEST)])
        hint = f"\n  {' '.join(self.hint.split())}" if self.hint else ""
        return text + hint + "".join(f"\n    {line}" for line in self.lines)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name nearest to ``name``, or all known names if none is near.

    >>> did_you_mean("pdg", ["fgsm", "pdpgd", "pgd"])
    "did you mean 'pgd'?"
    """
    choices = sorted(known)
    # Letters in another order are the likeliest slip, and count for difflib as two.
    swapped = [choice for choice in choices if sorted(choice) == sorted(name)]
    near = swapped or get_close_matches(name, choices, n=1, cutoff=0.55)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known: {', '.join(choices)}" if choices else "no names are known"


def shortened(text: str, length: int = 60) -> str:
    """Return a text of at most ``length`` characters, with the middle left out if the text is longer."""
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-length // 2 :]}"


def printable(text: str) -> str:
    r"""Return a text that UTF-8 can encode: other bytes of file names become escapes such as ``\xe9``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type if the text is empty."""
    lines = str(error).strip().splitlines()
    return shortened(lines[0], _LONGEST) if lines else type(error).__name__
