"""Answers of a service as log-odds of *fake*."""

import math
import re
from typing import Any

from robustbench_aigen.documents.document import show
from robustbench_aigen.errors import Source
from robustbench_aigen.scenario.http_spec import ScoreSpec
from robustbench_aigen.scenario.json_path import JsonPath, NotFoundError

_CERTAIN = 87.0
"""Log-odds in nats of a probability of exactly 0 or 1, and of a verdict: beyond those of any other probability
above 1e-37, and finite."""
_TOO_LARGE = 10**300
_NUMBER = re.compile(r"\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(%?)\s*", re.IGNORECASE | re.ASCII)


class UnreadableAnswerError(Exception):
    """An answer is not what the description says.

    Attributes
    ----------
    source
        The line of the description.
    """

    def __init__(self, text: str, source: Source | None) -> None:
        super().__init__(text)
        self.source = source


class Reader:
    """Reads answers by the ``score:`` of a description."""

    def __init__(self, spec: ScoreSpec) -> None:
        self._spec, self.path = spec, JsonPath.parsed(spec.path)

    def log_odds(self, document: Any) -> float:
        """Return the log-odds of *fake* of an answer, in nats.

        Raises
        ------
        UnreadableAnswerError
            If the path leads nowhere, or the value is not a score or a verdict.
        """
        spec = self._spec
        try:
            value = self.path.value(document)
        except NotFoundError as error:
            raise UnreadableAnswerError(str(error), spec.where("path")) from None
        if spec.is_verdict:
            return _CERTAIN * self._verdict(value)
        return self._number(value) * (1 if spec.of == "fake" else -1)

    def _verdict(self, value: Any) -> int:
        """Return 1 for a word of *fake*, -1 for a word of *real*."""
        for words, sign in ((self._spec.fake, 1), (self._spec.real, -1)):
            if any(_same(value, word) for word in words or ()):
                return sign
        known = ", ".join(show(word) for word in (*(self._spec.fake or ()), *(self._spec.real or ())))
        raise UnreadableAnswerError(
            f"{self.path} is {_shown(value)}, not a verdict of the description ({known})",
            self._spec.where("fake"),
        )

    def _number(self, value: Any) -> float:
        spec, number, percent = self._spec, math.nan, False
        if isinstance(value, int | float) and not isinstance(value, bool):
            # No float has the value of an integer beyond the range.
            number = float(value) if abs(value) < _TOO_LARGE else math.inf
        elif isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
            number, percent = float(found[1]), bool(found[4])
        if not math.isfinite(number) or (percent and spec.scale != "percentage"):
            raise UnreadableAnswerError(
                f"{self.path} is {_shown(value)}, not a {spec.scale or 'probability'}", spec.where("path")
            )
        if spec.scale == "logit":
            return number
        most = 100 if spec.scale == "percentage" else 1
        if not 0 <= number <= most:
            raise UnreadableAnswerError(
                f"{self.path} is {_shown(value)}, outside a {spec.scale or 'probability'}'s range from 0 to {most}",
                spec.where("path" if spec.scale is None else "scale"),
            )
        return _log_odds(number / most)


def _same(value: Any, word: object) -> bool:
    """Whether an answer is a word; case and spaces around a text do not matter, and true is not 1."""
    if isinstance(value, str) and isinstance(word, str):
        return value.strip().casefold() == word.strip().casefold()
    return type(value) is type(word) and value == word


def _log_odds(probability: float) -> float:
    """Return the log-odds in double precision: float32 has no probability between 1 and 1 - 6e-8."""
    if probability in (0.0, 1.0):
        return math.copysign(_CERTAIN, probability - 0.5)
    return max(-_CERTAIN, math.log(probability) - math.log1p(-probability))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
