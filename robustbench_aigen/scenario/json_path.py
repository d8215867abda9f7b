"""Paths to a value of a JSON document: ``result.score``, ``$.results[0]['a key']``, ``[?@.label=='fake'].score``.

The notation is a part of RFC 9535 (JSONPath): names, indices, and a filter that compares one member with a text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Filter(NamedTuple):
    """The only entry of a list whose member ``key`` is ``value``."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"[?@.{self.key}=={_quoted(self.value)}]"


Step = str | int | Filter

_STEP = re.compile(
    r"""
      \.(?P<dotted>[^\s.\[\]'"?@=]+)                                # .name
    | \[\s*(?P<index>-?\d+)\s*\]                                    # [0]
    | \[\s*(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*\]     # ['a name']
    | \[\s*\?\s*\(?\s*@\.(?P<key>[^\s.\[\]'"?@=]+)\s*==\s*(?P<value>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*\)?\s*\]
    """,
    re.VERBOSE,
)


class NotFoundError(LookupError):
    """A document has no value at a path; the text says what is missing."""


@dataclass(frozen=True)
class JsonPath:
    """A path, as steps from the root of a document."""

    steps: tuple[Step, ...]

    @classmethod
    def parsed(cls, text: str) -> "JsonPath":
        """Read a path.

        Raises
        ------
        ValueError
            If the text is not a path.
        """
        rest = text.strip().removeprefix("$")
        if rest and rest[0] not in ".[":
            rest = f".{rest}"
        steps: list[Step] = []
        at = 0
        while at < len(rest):
            found = _STEP.match(rest, at)
            if found is None:
                raise ValueError(
                    f"is not a path at '{rest[at:]}': write result.score, results[0].score, ['a name'] "
                    "or [?@.label=='fake'].score"
                )
            steps.append(_step(found))
            at = found.end()
        return cls(tuple(steps))

    def __str__(self) -> str:
        return "$" + "".join(_written(step) for step in self.steps)

    def value(self, document: Any) -> Any:
        """Return the value of a document at the path.

        Raises
        ------
        NotFoundError
            If there is no such value.
        """
        for number, step in enumerate(self.steps):
            document = _below(document, step, str(JsonPath(self.steps[:number])))
        return document

    def alone(self, document: Any) -> Any:
        """Return a document that has only the value at the path, at the same path.

        Raises
        ------
        NotFoundError
            If there is no such value.
        """
        made = self.value(document)
        for number, step in reversed(list(enumerate(self.steps))):
            if isinstance(step, str):
                made = {step: made}
            elif isinstance(step, int):
                # The same place from either end.
                count = len(JsonPath(self.steps[:number]).value(document))
                filled: list[Any] = [None] * count
                filled[step] = made
                made = filled
            else:
                made = [{step.key: step.value} | (made if isinstance(made, dict) else {})]
        return made

    def put(self, document: dict[str, Any], value: object) -> None:
        """Set the value of a document at the path, which has names and indices only; missing parts are made.

        Raises
        ------
        ValueError
            If another value of the document is in the way.
        """
        held: Any = document
        for number, step in enumerate(self.steps):
            is_last = number == len(self.steps) - 1
            fresh: Any = value if is_last else [] if isinstance(self.steps[number + 1], int) else {}
            if isinstance(step, str) and isinstance(held, dict):
                if is_last and step in held:
                    raise ValueError(f"'{self}' is among the fields, and the image belongs there")
                held = held.setdefault(step, fresh)
            elif isinstance(step, int) and isinstance(held, list) and 0 <= step <= len(held):
                if step == len(held):
                    held.append(fresh)
                elif is_last:
                    held[step] = fresh
                held = held[step]
            else:
                raise ValueError(
                    f"'{self}' does not fit into the fields at '{JsonPath(self.steps[:number])}'"
                )


def _step(found: re.Match[str]) -> Step:
    if found["dotted"] is not None:
        return found["dotted"]
    if found["index"] is not None:
        return int(found["index"])
    if found["quoted"] is not None:
        return _unquoted(found["quoted"])
    return Filter(found["key"], _unquoted(found["value"]))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _written(step: Step) -> str:
    if isinstance(step, Filter):
        return str(step)
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if re.fullmatch(r"[^\s.\[\]'\"?@=]+", step) else f"[{_quoted(step)}]"


def _below(document: Any, step: Step, place: str) -> Any:
    if isinstance(step, str):
        if not isinstance(document, Mapping):
            raise NotFoundError(f"{place} is {_kind(document)}, without a member '{step}'")
        if step not in document:
            known = ", ".join(map(str, list(document)[:8])) or "no members"
            raise NotFoundError(f"{place} has no member '{step}' (it has {known})")
        return document[step]
    if not isinstance(document, list):
        raise NotFoundError(f"{place} is {_kind(document)}, not a list")
    if isinstance(step, int):
        if not -len(document) <= step < len(document):
            raise NotFoundError(f"{place} has {len(document)} entries, and none at {step}")
        return document[step]
    fitting = [each for each in document if isinstance(each, Mapping) and each.get(step.key) == step.value]
    if len(fitting) != 1:
        raise NotFoundError(f"{place} has {len(fitting)} entries with {step.key} '{step.value}', not 1")
    return fitting[0]


def _kind(document: Any) -> str:
    if document is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(
        type(document), "a number"
    )
