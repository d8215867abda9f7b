"""CSV files for spreadsheets: no name becomes a formula.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break and is not a number gets an apostrophe before
it (OWASP, CSV Injection). So does one with apostrophes before such a beginning, so that one apostrophe less is always
the name.
"""

import codecs
import re
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

SEPARATOR = re.compile(r"\"?sep=([,;\t|])\"?(?=[\r\n]|$)")
"""The line with which spreadsheets begin a list to say what separates its columns."""
_FORMULA = re.compile(r"'*[=+\-@\t\r\n].+", re.DOTALL)


def guarded(text: str) -> str:
    """Return a cell as text that no spreadsheet reads as a formula.

    >>> guarded("=1+1"), guarded("-0.5"), guarded("sdxl"), guarded("-")
    ("'=1+1", '-0.5', 'sdxl', '-')
    """
    return f"'{text}" if _FORMULA.fullmatch(text) and not _is_number(text) else text


def unguarded(text: str) -> str:
    """Return the name that :func:`guarded` was given.

    >>> unguarded("'=1+1"), unguarded("'quoted'")
    ('=1+1', "'quoted'")
    """
    return text[1:] if text.startswith("'") and guarded(text[1:]) == text else text


def csv_of(frame: pd.DataFrame) -> str:
    """Return a table as CSV without its index; no text in it, its titles included, is a formula."""
    changed = frame.copy()
    for place in _texts(frame):
        changed.isetitem(place, frame.iloc[:, place].map(_each(guarded)))
    return changed.rename(columns=_each(guarded)).to_csv(index=False)


def unguarded_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was read from CSV with its names as they were."""
    changed = frame.copy()
    for place in _texts(frame):
        changed.isetitem(place, frame.iloc[:, place].map(_each(unguarded)))
    return changed.rename(columns=_each(unguarded))


def guarded_row(cells: Iterable[object]) -> list[object]:
    """Return a row for :func:`csv.writer` none of whose texts is a formula."""
    return [_each(guarded)(cell) for cell in cells]


def decoded(content: bytes, *, is_cut_off: bool = False) -> str:
    """Decode UTF-8 or, as spreadsheets write it, UTF-16, with a mark at the front or without.

    Raises
    ------
    UnicodeDecodeError
        If it is in another encoding; not of a text that is cut off, which is read for its first line.
    """
    encoding = "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif b"\0" in content[:2]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    # Whether a list whose later lines are in no known encoding is one shows in its header.
    decoder = codecs.getincrementaldecoder(encoding)("replace" if is_cut_off else "strict")
    return decoder.decode(content, final=not is_cut_off)


def header_line(text: str) -> str:
    """Return the line that names the columns: the first, or the one below the ``sep=;`` of spreadsheets."""
    first, *more = re.split(r"\r\n|\r|\n", text, maxsplit=2)
    return more[0] if more and SEPARATOR.fullmatch(first) else first


def separator_of(header: str) -> str:
    """Return what separates the columns: the most frequent of comma, semicolon, tab and bar."""
    return max(",;\t|", key=header.count)


def _texts(frame: pd.DataFrame) -> list[int]:
    return [place for place, dtype in enumerate(frame.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]


def _each(change: Callable[[str], str]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
