"""Standard output and standard error that accept every text in every encoding, also after the reader has closed."""

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

ERRORS = "robust-aigen"
"""Name of the error handler that writes other characters in place of those that an encoding has not."""
_SUBSTITUTES = {
    "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "…": "...", "×": "x", "∞": "inf", "·": "-", "•": "*",
    "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≈": "~", "≠": "!=", "±": "+/-", "√": "sqrt ", "°": " deg",
    "µ": "u", "μ": "u", "²": "^2", "‘": "'", "’": "'", "“": '"', "”": '"', "‡": "++", "†": "+", "\u00a0": " ",
    "─": "-", "━": "-", "═": "-", "╸": "-", "╺": "-", "│": "|", "┃": "|", "║": "|",
}  # fmt: skip
_ESCAPED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def written(text: str, encoding: str | None) -> str:
    r"""Return one line of text as a stream of an encoding can show it.

    Characters outside the encoding are substituted if typographic, and escaped otherwise, so
    that names stay distinct. So are control characters and the bytes of file names that are not UTF-8.

    >>> written("L∞ 4/255, 10–20 ×", "ascii"), written("b\udce9b\x1b[31m", "utf-8")
    ('Linf 4/255, 10-20 x', 'b\\xe9b\\x1b[31m')
    """
    shown = "".join(_escaped(character) if _is_control(character) else character for character in text)
    encoding = encoding or "utf-8"
    try:
        return shown.encode(encoding, ERRORS).decode(encoding)
    except (LookupError, UnicodeError):
        return shown.encode("ascii", ERRORS).decode("ascii")


def _is_control(character: str) -> bool:
    code = ord(character)
    # Marks that turn the direction of writing could make a name look like another.
    return (
        code < 32
        or 127 <= code < 160
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or code in (0x2028, 0x2029)
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _ESCAPED:
        return _ESCAPED[character]
    if 0xDC80 <= code <= 0xDCFF:  # A byte of a file name that is not UTF-8.
        return f"\\x{code - 0xDC00:02x}"
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _substituted(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(one) or _drawn(one) or _escaped(one) for one in characters), error.end


def _drawn(character: str) -> str:
    """Return a sign for a character that tables are drawn with, none for any other."""
    return "+" if 0x2500 <= ord(character) < 0x2580 else ""


codecs.register_error(ERRORS, _substituted)


class _Tolerant:
    """A text stream that drops its text after the reader has closed, so that the command continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)
        except OSError:
            self._drop()
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()
        except OSError:
            self._drop()
            raise

    def _drop(self) -> None:
        """Drop all later output, also the interpreter's flush at exit."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Make standard output and standard error take every character, and a reader that goes away, in a block.

    A command's exit code says how its work ended, not whether its output was read to the end.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _tolerant(sys.stdout), _tolerant(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _tolerant(stream: TextIO | None) -> TextIO:
    if stream is None:  # It was closed before the command began.
        return Path(os.devnull).open("w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=ERRORS)
    return cast(TextIO, _Tolerant(stream))
