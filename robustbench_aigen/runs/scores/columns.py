"""The columns of a table of scores: which is the sample, the class, the score, the detector, the condition."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from robustbench_aigen.data.columns import PATH_NAMES
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.runs.scores.table import ScoreTable
from robustbench_aigen.runs.scores.values import class_named_by
from robustbench_aigen.scenario.scores_spec import ScoresSpec
from robustbench_aigen.scenario.words import folded, words_of
from robustbench_aigen.words import is_weak, label_of

_USUAL = {
    "sample": (
        "sample", "sample_id", *PATH_NAMES, "image", "image_id", "image_name", "image_file", "img", "id", "name", "uid",
    ),
    "label": (
        "label", "labels", "class", "target", "y_true", "y", "truth", "ground_truth", "gt", "true_label", "is_fake",
        "is_real", "is_ai", "is_generated",
    ),
    "generator": ("generator", "generator_name"),
    "split": ("split", "subset", "partition", "phase", "set"),
    "sha256": ("sha256", "image_sha256", "file_sha256"),
    "detector": ("detector", "detector_name", "classifier", "method"),
    "condition": (
        "condition", "pipeline", "perturbation", "attack", "corruption", "degradation", "transform", "augmentation",
        "processing", "distortion",
    ),
}  # fmt: skip
"""Usual names of columns."""
_ANY_OF = ("sample",)
"""Roles of which several columns say the same: the first in the list is taken."""
_MODEL = ("model", "model_name")
"""Columns that name a detector in one table, and a generator in another."""
_CONFIDENCE = ("confidence", "conf", "certainty", "max_prob")
"""Columns that are often the probability of the predicted class, and not that of *fake*."""
_SCORES = ("score", "scores", "prob", "probs", "probability", "proba", "y_score", "y_prob", "y_proba", "p")
_VERDICTS = (
    "y_pred",
    "pred",
    "prediction",
    "predictions",
    "predicted",
    "output",
    "outputs",
    "y_hat",
    "verdict",
)
_LOGITS = ("logit", "logits", "log_odds", "logodds", "y_logit")
_SCORE_WORDS = frozenset(
    [
        "score",
        "scores",
        "prob",
        "probs",
        "probability",
        "proba",
        "p",
        "softmax",
        "output",
        "logit",
        "logits",
        "pred",
        "y",
        "of",
        "is",
    ]
)
_NO_DETECTORS = frozenset(
    {
        "eps", "epsilon", "threshold", "quality", "sigma", "strength", "severity", "ssim", "psnr", "lpips", "l2", "linf",
        "time", "seconds", "latency", "weight", "size",
    }
)  # fmt: skip
"""Words of columns with parameters and measurements; such columns may hold fractions."""
_REAL_WORDS = frozenset({"realness", "authenticity", "authentic", "genuine", "genuineness"})
"""Words for the real class beside those of class names."""
_PREDICTED = (
    "y_pred", "pred", "prediction", "predictions", "predicted", "y_hat", "verdict", "pred_label", "predicted_label",
    "pred_class", "predicted_class",
)  # fmt: skip
"""Columns that may hold the predicted classes."""
_LOGIT_WORDS = frozenset({"logit", "logits"})
ROLES = (*_USUAL, "score")


class ScoreColumns(NamedTuple):
    """The columns of a table.

    Parameters
    ----------
    label
        The column of the classes.
    scores
        The columns of the scores.
    is_logit
        Whether scores are log-odds in nats.
    is_low
        Whether a low score means AI-generated.
    is_wide
        Whether each column of scores is a detector, called as the column.
    condition
        The column of the conditions, and those of their parameters.
    sample, generator, split, sha256, detector
        Further columns; None for one that is missing.
    unused
        Columns that are not read.
    """

    label: str
    scores: tuple[str, ...]
    is_logit: bool
    is_low: bool
    is_wide: bool
    condition: tuple[str, ...]
    sample: str | None
    generator: str | None
    split: str | None
    sha256: str | None
    detector: str | None
    unused: tuple[str, ...]

    def meanings(self) -> dict[str, object]:
        """Return the columns by what they are, for ``run.json``."""
        several = {"score": self.scores, "condition": self.condition}
        named = {key: list(value) if len(value) > 1 else value[0] for key, value in several.items() if value}
        alone = ("sample", "label", "generator", "split", "sha256", "detector")
        return {
            **{key: value for key in alone if (value := getattr(self, key)) is not None},
            **named,
        }

    def meanings_as_text(self) -> dict[str, str]:
        """Return the columns by what they are, several of one meaning separated by commas."""
        return {
            role: ", ".join(name) if isinstance(name, list) else str(name)
            for role, name in self.meanings().items()
        }


def find_score_columns(table: ScoreTable, spec: ScoresSpec) -> ScoreColumns:
    """Find the columns of a table: those that the user names, then those with a usual name.

    Raises
    ------
    UserError
        If a column is missing or ambiguous; the error lists the columns and what to write.
    """
    finder = _Finder(table, spec)
    label = finder.only("label")
    if label is None:
        raise table.error(
            f"has no column of labels; it has {_listed(table.columns)}",
            hint="name the column of the classes: label: …",
        )
    optional = {role: finder.only(role) for role in ("sample", "generator", "split", "sha256", "detector")}
    condition = finder.conditions()
    finder.refuse_models(optional)
    scores = finder.scores()
    if spec.fake_is is None and class_named_by(label) == 0:
        for name in scores.columns:
            if _simple(name).startswith(("y_", "pred")) or _simple(name) in _VERDICTS:
                # Libraries write the score of the class 1 under such names.
                raise _may_be_of_real(table, name, f"; '{label}' is 1 for real")
    _check_roles(table, {"label": [label], "condition": condition, "score": scores.columns, **{
        role: [name] for role, name in optional.items() if name is not None
    }})  # fmt: skip
    if scores.is_wide and optional["detector"] is not None:
        raise table.error(
            f"has a column of detectors, '{optional['detector']}', and several columns of scores: {_listed(scores.columns)}",
            hint=f"name the column of the scores: score: {scores.columns[0]}",
        )
    return ScoreColumns(
        label, tuple(scores.columns), scores.is_logit, scores.is_low, scores.is_wide, tuple(condition),
        **optional, unused=(*finder.rest(), *table.left_out),
    )  # fmt: skip


def predicted_classes(columns: ScoreColumns) -> str | None:
    """Return the column that is not read and may hold the predicted classes, or None."""
    found = {_simple(name): name for name in columns.unused}
    return next((found[name] for name in _PREDICTED if name in found), None)


def _may_be_of_real(table: ScoreTable, name: str, why: str = "") -> UserError:
    return table.error(
        f"may be a score of real, which is low for fakes{why}",
        column=name,
        hint="fake_is: low, or fake_is: high",
    )


class _FoundScores(NamedTuple):
    columns: list[str]
    is_logit: bool
    is_low: bool
    is_wide: bool


class _Finder:
    """The columns of a table that have no meaning yet."""

    def __init__(self, table: ScoreTable, spec: ScoresSpec) -> None:
        self._table, self._spec = table, spec
        self._free = dict.fromkeys(table.columns)
        said = [spec.label, spec.sample, spec.generator, spec.split, spec.sha256, spec.detector]
        for name in [*said, *(spec.score or ()), *(spec.condition or ())]:
            if name is not None:
                self._free.pop(self._named(name), None)

    def rest(self) -> list[str]:
        """Return the columns that are left."""
        return list(self._free)

    def only(self, role: str) -> str | None:
        """Return the column of a role, or None."""
        said = getattr(self._spec, role)
        if said is not None:
            return self._named(said)
        found = self._usual(_USUAL[role])
        if len(found) > 1 and role not in _ANY_OF:
            raise self._table.error(
                f"several columns may be the {role}: {_listed(found)}",
                hint=" or ".join(f"{role}: {name}" for name in found),
            )
        return self._taken(found[0]) if found else None

    def conditions(self) -> list[str]:
        """Return the columns of the conditions."""
        if self._spec.condition is not None:
            return [self._named(name) for name in self._spec.condition]
        found = self._usual(_USUAL["condition"])
        if len(found) > 1:
            raise self._table.error(
                f"several columns may be the condition: {_listed(found)}",
                hint=f"condition: {found[0]}, or condition: [{', '.join(found)}] for all of them",
            )
        return [self._taken(name) for name in found]

    def refuse_models(self, optional: dict[str, str | None]) -> None:
        """Refuse a column of models that may be detectors or generators; one of the two that is named leaves the other."""
        for name in self._usual(_MODEL):
            if optional["detector"] is None and optional["generator"] is None:
                raise self._table.error(
                    "may be the detectors or the generators",
                    column=name,
                    hint=f"detector: {name}, or generator: {name}",
                )

    def scores(self) -> _FoundScores:
        """Return the columns of the scores, and what they mean."""
        if self._spec.score is not None:
            return self._read([self._named(name) for name in self._spec.score])
        numeric = [name for name in self._free if self._holds_numbers(name)]
        # What is called a score is one; values that are no numbers are then reported at their rows.
        called = [name for name in self._free if _simple(name) in _SCORES + _LOGITS or name in numeric]
        plain = [name for name in called if _meaning(name) in ("score", "logit", "fake")]
        if len(plain) > 1:
            raise self._table.error(
                f"several columns may be the score: {_listed(plain)}",
                hint=" or ".join(f"score: {name}" for name in plain)
                + f"; for a detector each, score: [{', '.join(plain)}]",
            )
        of_real = [name for name in numeric if _meaning(name) == "real"]
        verdicts = [name for name in numeric if _meaning(name) == "verdict"]
        for found in (plain, of_real, verdicts):
            if len(found) > 1:
                raise self._table.error(
                    f"several columns may be the score: {_listed(found)}",
                    hint=" or ".join(f"score: {name}" for name in found),
                )
            if found:
                return self._read([self._taken(found[0])])
        return self._wide(numeric)

    def _wide(self, numeric: list[str]) -> _FoundScores:
        """Return the columns of the detectors of a wide table: every one is a fraction, and none may be something else."""
        if not numeric:
            raise self._table.error(
                f"has no column of scores; it has {_listed(self._table.columns)}",
                hint="name the column of the scores: score: …",
            )
        pair = _pair_of_classes(numeric)
        if pair is not None:
            raise self._table.error(
                f"'{pair[0]}' and '{pair[1]}' may be the probabilities of two classes",
                hint=f"score: {pair[1]} where that is of fake; for a detector each, score: [{', '.join(pair)}]",
            )
        ask = f"score: {numeric[0]}" if len(numeric) == 1 else f"score: [{', '.join(numeric)}]"
        unclear = [name for name in numeric if _is_unclear(name) or not self._holds_fractions(name)]
        if unclear or len(numeric) < len(self._free):
            about = f"'{unclear[0]}' may be something else" if unclear else "other columns are no numbers"
            raise self._table.error(
                f"cannot tell which columns are scores of detectors: {_listed(numeric)}; {about}",
                hint=f"name the columns of the scores: {ask}",
            )
        return self._read([self._taken(name) for name in numeric])

    def _read(self, columns: list[str]) -> _FoundScores:
        """Return columns of scores with the meaning that their names and the user give them."""
        spec = self._spec
        kinds = {_meaning(name) for name in columns}
        is_logit = spec.logit
        if is_logit is None:
            logits = {bool(_LOGIT_WORDS & {*words_of(name)}) or _simple(name) in _LOGITS for name in columns}
            if len(logits) > 1:
                raise self._table.error(
                    f"some of the columns are called logits: {_listed(columns)}",
                    hint="logit: true or logit: false",
                )
            is_logit = logits.pop()
        is_low = spec.fake_is == "low"
        if spec.fake_is is None:
            if len(kinds) > 1 and "real" in kinds:
                raise self._table.error(
                    f"some of the columns are scores of real: {_listed(columns)}",
                    hint="name the columns of one meaning",
                )
            is_low = kinds == {"real"}
            for name in columns:
                if _meaning(name) != "real" and _suggests_real(name):
                    raise _may_be_of_real(self._table, name)
        return _FoundScores(columns, is_logit, is_low, len(columns) > 1 or not kinds & _KNOWN)

    def _named(self, name: str) -> str:
        if name in self._table.columns:
            return name
        match = [each for each in self._table.columns if _simple(each) == _simple(name)]
        if len(match) != 1:
            raise self._table.error(
                f"has no column '{name}'; it has {_listed(self._table.columns)}",
                hint=did_you_mean(name, self._table.columns),
            )
        return match[0]

    def _usual(self, names: Sequence[str]) -> list[str]:
        found = {_simple(name): name for name in self._free}
        return [found[name] for name in names if name in found]

    def _taken(self, name: str) -> str:
        del self._free[name]
        return name

    def _holds_numbers(self, name: str) -> bool:
        column = self._table.columns[name]
        if pa.types.is_boolean(column.type):
            return True
        if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
            return not pa.types.is_null(column.type)
        given = column.filter(pc.not_equal(column, ""))
        # One value that is not a number is a mistake in a column of numbers; half of them make it text.
        matches = pc.sum(pc.match_substring_regex(given, _NUMBER.pattern)).as_py() or 0
        return bool(2 * matches > len(given))

    def _holds_fractions(self, name: str) -> bool:
        """Whether most numbers of a column lie between 0 and 1, and not all of them are whole."""
        column = self._table.columns[name]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            given = pc.replace_substring(column, ",", ".")
            column = given.filter(pc.match_substring_regex(given, _NUMBER.pattern))
        if pa.types.is_boolean(column.type):
            return False
        numbers = column.cast(pa.float64(), safe=False).drop_null().to_numpy()
        inside = (numbers >= 0) & (numbers <= 1)
        return bool(len(numbers) and inside.mean() > 0.5 and (numbers % 1 != 0).any())


_NUMBER = re.compile(r"^[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?$")
_KNOWN = frozenset({"score", "logit", "fake", "real", "verdict"})


def _simple(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", folded(name))


def _meaning(name: str) -> str | None:
    """Return what a column's name says: ``score``, ``logit``, ``fake``, ``real``, ``verdict``, or None."""
    simple = _simple(name)
    for meaning, names in (("score", _SCORES), ("logit", _LOGITS), ("verdict", _VERDICTS)):
        if simple in names:
            return meaning
    rest = [word for word in words_of(name) if word not in _SCORE_WORDS]
    label = label_of(" ".join(rest)) if rest else None
    return None if label is None else ("real", "fake")[label]


def _is_unclear(name: str) -> bool:
    """Whether a column that nothing else is known of may be something other than the score of a detector."""
    words = words_of(name)
    return (
        _simple(name) in (*_CONFIDENCE, "p_value")
        or not _NO_DETECTORS.isdisjoint(_simple(name).split("_"))
        or any(label_of(word) is not None for word in words)
    )


def _suggests_real(name: str) -> bool:
    """Whether a word of a column's name says that its scores may be those of *real*."""
    return any(word in _REAL_WORDS or (label_of(word) == 0 and not is_weak(word)) for word in words_of(name))


def _pair_of_classes(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two columns that differ in a 0 and a 1 at the end: ``prob_0`` and ``prob_1``."""
    simple = {_simple(name): name for name in names}
    for key, name in simple.items():
        if key.endswith("0") and not key[:-1].endswith(tuple("0123456789")):
            other = simple.get(f"{key[:-1]}1")
            if other is not None:
                return name, other
    return None


def _check_roles(table: ScoreTable, roles: dict[str, Sequence[str]]) -> None:
    """Refuse a column with two meanings."""
    seen: dict[str, str] = {}
    for role, names in roles.items():
        for name in names:
            if name in seen:
                raise table.error(f"is given as {seen[name]} and as {role}", column=name)
            seen[name] = role


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
