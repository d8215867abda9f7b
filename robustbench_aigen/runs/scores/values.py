"""The values of a table of scores: text as codes, labels, scores, and the log-odds that keep their order."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit, logit

from robustbench_aigen.data.generators import read_generators
from robustbench_aigen.data.label_values import (
    LabelMeaning,
    class_of_folder,
    label_value,
    plain_text,
    read_labels,
)
from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.scores.table import ScoreTable
from robustbench_aigen.scenario.words import words_of
from robustbench_aigen.words import label_of

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
_THOUSANDS = r"^[+-]?[1-9]\d{0,2},\d{3}$"
_COMMAS = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
_LEAST = float(np.log(5e-324) - np.log(2))
"""Log-odds of the score 0: half-way to the smallest float64."""
_MOST = float(54 * np.log(2))
"""Log-odds of the score 1: half-way to the next lower float64."""


class Coded(NamedTuple):
    """N texts: the codes of their distinct values, −1 where one is missing."""

    codes: Codes
    names: list[str]


def coded(table: ScoreTable, column: str) -> Coded:
    """Return the texts of a column; whole numbers are written without a fraction."""
    array = table.columns[column].combine_chunks().dictionary_encode()
    raw = array.dictionary.to_pylist()
    texts = [value.strip() if isinstance(value, str) else plain_text(value) for value in raw]
    merged, values = pd.factorize(np.array([*texts, ""], dtype=object))
    empty = merged[-1]
    places = array.indices.fill_null(len(raw)).to_numpy(zero_copy_only=False)
    codes = np.append(merged[:-1], empty)[places].astype(np.intp)
    return _without(codes, [str(value) for value in values], int(empty))


def _without(codes: Codes, values: list[str], empty: int) -> Coded:
    """Return codes with −1 for the empty text, and the values without the empty text."""
    moved = np.where(codes == empty, -1, np.where(codes > empty, codes - 1, codes))
    return Coded(moved, [value for place, value in enumerate(values) if place != empty])


def required(table: ScoreTable, column: str, what: str) -> Coded:
    """Return the texts of a column that has one in every row.

    Raises
    ------
    UserError
        At the first row without one.
    """
    texts = coded(table, column)
    missing = np.flatnonzero(texts.codes < 0)
    if len(missing):
        raise table.error(f"the {what} is missing", row=int(missing[0]), column=column)
    return texts


def label_column(
    table: ScoreTable, column: str, samples: Coded | None, own: Mapping[str, int]
) -> tuple[NDArray[np.int8], list[LabelMeaning], Codes]:
    """Return the label of every row, 0 or 1; and the meanings of the distinct labels with the code of each row.

    Numbers and truth values mean what the class folders of the images say; without such folders, 1 is AI-generated, or
    what the name of the column says: ``is_real``.

    Parameters
    ----------
    table, column
        The column of the classes.
    samples
        The samples of the rows, which may be paths.
    own
        The user's meanings of labels.

    Raises
    ------
    UserError
        If a label is missing or its meaning is unknown.
    """
    labels = coded(table, column)
    missing = np.flatnonzero(labels.codes < 0)
    if len(missing):
        raise table.error(
            "the label is missing", row=int(missing[0]), column=column, hint="write it, or delete the row"
        )
    folders = None if own or samples is None else _folders(labels, samples)
    if folders is None:
        keys: list[tuple[str, str | None]] = [(value, None) for value in labels.names]
        codes = labels.codes
        own = own or _usual_meanings(labels.names, column)
    else:
        pairs, _, codes = _pairs(labels.codes, folders.codes)
        keys = [(labels.names[one], f"{folders.names[other]}/image") for one, other in pairs]
    _, rows = np.unique(codes, return_index=True)

    def refusal(place: int, message: str, hint: str) -> UserError:
        return table.error(message, row=int(rows[place]), column=column, hint=_own_keys(hint))

    read = read_labels([key for key, _ in keys], [path for _, path in keys], own, None, refusal)
    for place, meaning in enumerate(read):
        if meaning is None:
            raise refusal(place, f"the label '{keys[place][0]}' says nothing", "write it, or delete the row")
    meanings = [meaning for meaning in read if meaning is not None]
    if folders is not None and class_named_by(column) is not None:
        # Such a column says the class itself: is_fake.
        usual = _usual_meanings(labels.names, column)
        for place, ((value, path), meaning) in enumerate(zip(keys, meanings, strict=True)):
            bare = label_value(value, None)
            said = None if bare is None else usual.get(bare.text)
            if said is not None and said != meaning.label:
                raise refusal(
                    place,
                    f"{column} {value} means {CLASS_NAMES[said]}, and the folder '{str(path).rpartition('/')[0]}' means {CLASS_NAMES[meaning.label]}",
                    f"say what the labels mean: labels: {{{value}: {CLASS_NAMES[said]}}}",
                )
    numbers = np.array([meaning.label for meaning in meanings], dtype=np.int8)
    return numbers[codes], meanings, codes


def _own_keys(hint: str) -> str:
    """Return a hint on images with the keys of scores, where columns are named without ``columns:``."""
    return re.sub(r"columns: \{(label|generator): …\}", r"\1: …", hint)


def class_named_by(column: str) -> int | None:
    """Return the class for which a column of labels is 1 by its name: 0 for ``is_real``, 1 for ``is_fake``; or None."""
    words = [word for word in words_of(column) if word not in ("is", "label")]
    return label_of(" ".join(words)) if words else None


def _usual_meanings(values: Sequence[str], column: str) -> dict[str, int]:
    """Return the meanings of bare labels: of 0 and 1, or true and false; none where there are other numbers."""
    read = [label_value(value, None) for value in values]
    bare = {value.text for value in read if value is not None and value.is_bare}
    if not bare or not bare <= {"0", "1", "true", "false"}:
        return {}
    of_real = class_named_by(column) == 0
    return {"0": int(of_real), "1": 1 - int(of_real)}


def _folders(labels: Coded, samples: Coded) -> Coded | None:
    """Return the folder of every row's sample, if labels are bare and the folders name both classes."""
    read = [label_value(value, None) for value in labels.names]
    if not any(value is not None and value.is_bare for value in read):
        return None
    above = [value.replace("\\", "/").rpartition("/")[0] for value in samples.names]
    codes, folders = pd.factorize(np.array(above, dtype=object))
    told = {class_of_folder(str(folder)) for folder in folders if folder}
    if not told >= {0, 1}:
        return None
    return Coded(codes[samples.codes], [str(folder) for folder in folders])


def _pairs(one: Codes, other: Codes) -> tuple[list[tuple[int, int]], Codes, Codes]:
    """Return the distinct pairs of two columns of codes, the first row of each, and the pair of every row."""
    width = int(other.max(initial=0)) + 2
    joined, first, places = np.unique(one * width + other + 1, return_index=True, return_inverse=True)
    return [(int(key) // width, int(key) % width - 1) for key in joined], first, places


def generator_column(
    table: ScoreTable, column: str | None, meanings: Sequence[LabelMeaning], codes: Codes
) -> Coded:
    """Return the generator of every row; ``fake`` where nothing names one, ``real`` for reals of all generators.

    Raises
    ------
    UserError
        If a generator and a label contradict each other, or a generator is called ``all``.
    """
    texts = Coded(np.full(len(codes), -1), []) if column is None else coded(table, column)
    pairs, first, places = _pairs(codes, texts.codes)

    def refusal(place: int, message: str, hint: str) -> UserError:
        return table.error(message, row=int(first[place]), column=column, hint=_own_keys(hint))

    values = [None if text < 0 else texts.names[text] for _, text in pairs]
    names = read_generators(values, [meanings[meaning] for meaning, _ in pairs], refusal)
    if ALL_GENERATORS in names:
        # The summary's rows on all generators have that name.
        raise refusal(names.index(ALL_GENERATORS), f"a generator is called '{ALL_GENERATORS}'", "rename it")
    merged, found = pd.factorize(np.array(names, dtype=object))
    return Coded(merged[places].astype(np.intp), [str(name) for name in found])


# --------------------------------------------------------------------------------------------------------- numbers


class Numbers(NamedTuple):
    """N finite numbers of a column, and whether they are float32 or float16 and not float64."""

    array: Floats
    is_single: bool
    has_commas: bool


def numbers(table: ScoreTable, column: str) -> Numbers:
    """Return the numbers of a column exactly; decimal commas are read where no value has a point.

    Raises
    ------
    UserError
        At the first value that is missing, no number, NaN or infinite.
    """
    array = table.columns[column]
    kind, has_commas = array.type, False
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        array, has_commas = _parsed(table, column, array)
    elif pa.types.is_null(kind):
        raise table.error("the score is missing", row=0, column=column)
    # Whole numbers beyond 2^53 are rounded.
    values = array.cast(pa.float64(), safe=False).to_numpy()
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        row = int(wrong[0])
        said = "missing" if array[row].as_py() is None else "NaN" if np.isnan(values[row]) else "infinite"
        hint = "delete the row, or write its score"
        if said == "infinite":
            hint = "write the probabilities in place of the logits, which may be 0 and 1"
        raise table.error(f"the score is {said}", row=row, column=column, hint=hint)
    is_single = pa.types.is_float32(kind) or pa.types.is_float16(kind)
    return Numbers(values, is_single, has_commas)


def _parsed(table: ScoreTable, column: str, array: pa.ChunkedArray) -> tuple[pa.ChunkedArray, bool]:
    """Return the numbers of a column of text, and whether they have decimal commas."""
    empty = np.flatnonzero(pc.or_kleene(pc.is_null(array), pc.equal(array, "")).to_numpy())
    if len(empty):
        hint = "delete the row, or write its score"
        raise table.error("the score is missing", row=int(empty[0]), column=column, hint=hint)
    commas = pc.match_substring_regex(array, _COMMAS).to_numpy()
    if commas.any():
        points = pc.match_substring(array, ".").to_numpy()
        if points.any():
            row = int(np.flatnonzero(points)[0])
            raise table.error(
                f"'{table.text(row, column)}' has a point, and {table.place(int(np.flatnonzero(commas)[0]))} a decimal comma",
                row=row,
                column=column,
                hint="write all numbers with a point",
            )
        if pc.all(pc.match_substring_regex(array, _THOUSANDS)).as_py():
            row = int(np.flatnonzero(commas)[0])
            raise table.error(
                f"the comma of '{table.text(row, column)}' may be a decimal comma or separate thousands",
                row=row,
                column=column,
                hint="write all numbers with a point",
            )
        array = pc.replace_substring(array, ",", ".")
    try:
        return array.cast(pa.float64()), bool(commas.any())
    except pa.ArrowException:
        pass
    for row, text in enumerate(array.to_pylist()):
        try:
            float(text.replace("_", "?"))
        except ValueError:
            hint = "write a number with a point"
            if text.endswith("%"):
                hint = "write a fraction: 0.93 for 93 %"
            raise table.error(
                f"'{shortened(table.text(row, column))}' is not a number", row=row, column=column, hint=hint
            ) from None
    return pa.chunked_array([pa.array([float(text) for text in array.to_pylist()])]), bool(commas.any())


class ImportedScores(NamedTuple):
    """N scores: the probability of *fake*, its log-odds in the order of the given scores, and the threshold's."""

    scores: Floats
    log_odds: Floats
    threshold: float
    threshold_log_odds: float


def of_logits(
    given: Floats, *, is_low: bool, threshold: float, threshold_logit: float | None
) -> ImportedScores:
    """Return the scores of logits in nats; with ``is_low`` they are those of *real*."""
    log_odds = -given if is_low else given
    limit = float(logit(threshold)) if threshold_logit is None else threshold_logit
    chance = threshold if threshold_logit is None else float(expit(threshold_logit))
    return ImportedScores(expit(log_odds), log_odds, chance, limit)


def is_exact_in_float32(threshold: float, *, is_low: bool) -> bool:
    """Whether scores in float32 and in float64 are compared with the same number."""
    limit = _limit(threshold, is_low=is_low)
    return float(np.float32(limit)) == limit


def _limit(threshold: float, *, is_low: bool) -> float:
    """Return the threshold on the given scores, those of *real* with ``is_low``."""
    return float(1 - Decimal(repr(threshold))) if is_low else threshold


def of_probabilities(given: Floats, *, is_low: bool, threshold: float, is_single: bool) -> ImportedScores:
    """Return the scores of probabilities.

    Log-odds of neighbouring probabilities may round to one float64, and those of 0 and 1 are infinite. Here, different
    scores have different finite log-odds, and equal ones equal ones, so that rankings and ties are those of the scores.
    The threshold is among them: a score at the threshold has the threshold's log-odds.

    Parameters
    ----------
    given
        N probabilities in 0…1.
    is_low
        Whether they are those of *real*.
    threshold
        The threshold on the probability of *fake*.
    is_single
        Whether the scores were stored in float32, in which the threshold is then compared.
    """
    limit = _limit(threshold, is_low=is_low)
    if is_single:
        limit = float(np.float32(limit))
    log_odds = _ordered_log_odds(np.append(given, limit))
    log_odds = -log_odds if is_low else log_odds
    return ImportedScores(1 - given if is_low else given, log_odds[:-1], threshold, float(log_odds[-1]))


def _ordered_log_odds(scores: Floats) -> Floats:
    values, places = np.unique(scores, return_inverse=True)
    with np.errstate(divide="ignore"):
        log_odds = np.clip(np.log(values) - np.log1p(-values), _LEAST, _MOST)
    # The bits of a float64 as a whole number, in the order of the numbers: the next number is one more.
    bits = (log_odds + 0.0).view(np.int64)
    steps = np.where(bits < 0, np.int64(-(2**63)) - bits, bits)
    count = np.arange(len(steps))
    steps = np.maximum.accumulate(steps - count) + count
    bits = np.where(steps < 0, np.int64(-(2**63)) - steps, steps)
    return bits.view(np.float64)[places]
