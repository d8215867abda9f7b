"""Meaning of the values of a label column: 0 real, 1 AI-generated, or unknown."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from robustbench_aigen.data.class_folders import FolderReader
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import warning
from robustbench_aigen.text import counted
from robustbench_aigen.words import NO_LABELS, Labels, label_of

Refusal = Callable[[int, str, str], UserError]
"""Makes the error of a row: its number in the table, what is wrong, what to type."""

_MISSING = frozenset({"", "nan", "none", "null", "n/a", "na", "<na>", "?", "-"})
_BARE = {"true": "1", "false": "0"}
"""Words that say as little of a class as the numbers that they are written for."""
_BARE_PAIRS = (("0", "1"), ("false", "true"))
_NEEDS_QUOTES = re.compile(r"(?i)(?![A-Za-z0-9_(])|.*[:#,\[\]{}\"']|.*\s$|(?:yes|no|on|off|y|n|null|~)$")
_MOST_SHOWN = 4


class LabelValue(NamedTuple):
    """One value of a label column.

    ``text`` is the value without case, quotes and spaces, a number in its shortest form, a ClassLabel by its name;
    ``number`` the ClassLabel's number; ``name`` the text in its own case.
    """

    text: str
    number: str | None
    name: str

    @property
    def is_bare(self) -> bool:
        """Whether it is a number or a truth value, which say nothing by themselves."""
        return self.text in _BARE or _number(self.text) is not None


class LabelMeaning(NamedTuple):
    """A row's label, 0 or 1, and the generator that its label names in place of the class, if it does."""

    label: int
    generator: str | None


def plain_text(value: object) -> str:
    """Return a cell as text: a whole number without its fraction, nothing for a missing value.

    >>> plain_text(1.0), plain_text(" SDXL "), plain_text(float("nan")), plain_text(None)
    ('1', 'SDXL', '', '')
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in _MISSING else text


def read_labels(
    values: Sequence[object],
    paths: Sequence[str | None],
    own: Labels,
    names: Sequence[str] | None,
    refusal: Refusal,
) -> list[LabelMeaning | None]:
    """Return the label of every row; None for rows without a label.

    A value has the meaning that the user declares, or the meaning of its words. Numbers and truth values mean what the class folders
    of the images beside them say, where these agree.

    Parameters
    ----------
    values
        The label column.
    paths
        The known file names of the images.
    own
        The user's ``labels``.
    names
        The ClassLabel names of the column, which numbers stand for.
    refusal
        Makes the error.

    Raises
    ------
    UserError
        If the meaning of a value is unknown.
    """
    keys = [label_value(value, names) for value in values]
    first_rows: dict[LabelValue, int] = {}
    for row, key in enumerate(keys):
        if key is not None:
            first_rows.setdefault(key, row)
    own = {canonical(name): label for name, label in own.items()}
    # Names such as "1" are not mixed up with the numbers that stand for them.
    by_name = any(canonical(name) in own for name in names or ())
    meanings = {key: _meaning(key._replace(number=None) if by_name else key, own) for key in first_rows}
    unclear = [key for key, label in meanings.items() if label is None and key.is_bare]
    meanings |= _told_by_folders(unclear, keys, paths, own, first_rows, refusal)
    unclear = [key for key, label in meanings.items() if label is None]
    if unclear:
        known = [key for key, label in meanings.items() if label is not None]
        raise refusal(
            first_rows[unclear[0]],
            f"cannot tell whether label {values[first_rows[unclear[0]]]!r} is real or fake",
            ask_for_labels(unclear, known),
        )
    return [None if key is None else _as_meaning(key, meanings[key]) for key in keys]


def label_value(value: object, names: Sequence[str] | None) -> LabelValue | None:
    """Return the value of a cell of a label column; None for a missing value (-1 of a ClassLabel)."""
    if isinstance(value, list | dict):
        return LabelValue(str(value), None, str(value))
    text = plain_text(value)
    number = _number(canonical(text))
    if names is not None and number is None and canonical(text) in _BARE:
        number = int(_BARE[canonical(text)])
    if names is not None and number is not None:
        if number == -1:
            return None
        if 0 <= number < len(names):
            named = LabelValue(canonical(names[number]), str(number), names[number].strip())
            return named._replace(name=named.text) if named.is_bare else named
    if not text:
        return None
    value = LabelValue(canonical(text), None, text)
    return value._replace(name=value.text) if value.is_bare else value


def canonical(text: str) -> str:
    """Return a label without quotes, spaces and case, a whole number in its shortest form.

    >>> canonical(" '1.0' "), canonical("1."), canonical("TRUE"), canonical("1e0"), canonical("SD 2.1")
    ('1', '1', 'true', '1', 'sd 2.1')
    """
    text = str(text).strip().strip("'\"").strip().casefold()
    number = _number(text)
    return text if number is None else str(number)


def ask_for_labels(unclear: Sequence[LabelValue], known: Sequence[LabelValue]) -> str:
    """Return the line to write if labels have no known meaning; the line lists all possibilities."""
    texts = list(dict.fromkeys(key.name.strip("'\"").strip() for key in unclear))
    for pair in _BARE_PAIRS:
        if len(texts) == 1 and not known and texts[0] in pair:
            texts = list(pair)
    quoted = [_quoted(text) for text in sorted(texts, key=lambda text: (len(text), text))]
    if len(quoted) == 1:
        return f"declare the meaning: labels: {{{quoted[0]}: fake}} or labels: {{{quoted[0]}: real}}, depending on your data"
    if len(quoted) == 2 and not known:
        one, other = quoted
        return (
            f"declare the meaning of the labels: labels: {{{one}: fake, {other}: real}} or "
            f"labels: {{{one}: real, {other}: fake}}, depending on your data"
        )
    shown = ", ".join(f"{text}: …" for text in quoted[:_MOST_SHOWN]) + (
        ", …" if len(quoted) > _MOST_SHOWN else ""
    )
    return f"write real or fake for each: labels: {{{shown}}}; if another column has the class, write columns: {{label: …}}"


@lru_cache(maxsize=1024)  # A column has few labels and many rows, and each is asked about several times.
def _number(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _meaning(key: LabelValue, own: Labels) -> int | None:
    said = [own.get(text) for text in (key.text, key.number, _BARE.get(key.text)) if text is not None]
    if key.text in _BARE.values():
        said += [own.get(word) for word, number in _BARE.items() if number == key.text]
    for label in said:
        if label is not None:
            return label
    return None if key.is_bare else label_of(key.name)


def _told_by_folders(
    unclear: Sequence[LabelValue],
    keys: Sequence[LabelValue | None],
    paths: Sequence[str | None],
    own: Labels,
    first_rows: dict[LabelValue, int],
    refusal: Refusal,
) -> dict[LabelValue, int]:
    """Return the meanings of bare values according to the class folders of their images."""
    wanted = set(unclear)
    folders = {
        (key, str(PurePosixPath(path.replace("\\", "/")).parent))
        for key, path in zip(keys, paths, strict=True)
        if key in wanted and path is not None
    }
    found: dict[LabelValue, set[int]] = {}
    for key, folder in folders:
        label = class_of_folder(folder, own)
        if key is not None and label is not None:
            found.setdefault(key, set()).add(label)
    for key, labels in found.items():
        if len(labels) > 1:
            raise refusal(
                first_rows[key],
                f"label {key.text} is on images in folders of both classes",
                "name the column of the class: columns: {label: …}; or " + ask_for_labels(unclear, []),
            )
    told = {key: labels.pop() for key, labels in found.items()}
    # One folder above all images, such as ai_dataset/, does not distinguish two labels.
    return told if len(unclear) == 1 or len(set(told.values())) > 1 else {}


def class_of_folder(folder: str, own: Labels = NO_LABELS) -> int | None:
    """Return the class that the names in an image's folder tell, None where they tell none."""
    place = PurePosixPath(folder)
    try:
        told = FolderReader([place], own).read(place)
    except UserError:
        return None
    return None if told is None else told.label


def _as_meaning(key: LabelValue, label: int | None) -> LabelMeaning:
    assert label is not None
    names_generator = label == 1 and not key.is_bare and label_of(key.name) is None
    return LabelMeaning(label, key.name if names_generator else None)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.match(text) else text


def left_out(rows: Iterable[int], what: str) -> list[str]:
    """Return the line that counts rows without a label, none where all have one."""
    without = list(rows)
    if not without:
        return []
    images = counted(len(without), "image is", "images are")
    return [warning(f"{images} left out: no label ({what} {without[0]}{' …' if len(without) > 1 else ''})")]
