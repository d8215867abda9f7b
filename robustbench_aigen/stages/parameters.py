"""The kinds of parameter that a recipe declares, and how their values are read and written."""

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from robustbench_aigen.documents.document import Section
from robustbench_aigen.stages.masks import read_mask
from robustbench_aigen.stages.models import read_model

Norm = Literal["linf", "l2", "l1", "l0", "spatial"]
Kind = Literal["pixels", "number", "count", "switch", "choice", "text", "mask", "model"]
Value = float | int | bool | str | None

_WORDS: Mapping[str, str] = {
    "pixels": "a distance in pixel units such as 4/255",
    "number": "a number",
    "count": "a whole number",
    "switch": "true or false",
    "choice": "one of its choices",
    "text": "text",
    "mask": "a mask",
    "model": "a model",
}


_LONGEST = 10_000
"""Beyond the L2 distance of any two images: black and white are 1774 apart at 1024 pixels a side."""


def read_fraction(value: object) -> float | None:
    """Read ``4/255``, ``0.25`` or ``1`` as a float; None where it is not a finite number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        numerator, slash, denominator = value.partition("/")
        try:
            number = float(numerator) / float(denominator) if slash else float(value)
        except (ValueError, ZeroDivisionError):
            return None
    elif isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def write_pixels(value: float) -> str:
    """Return a distance as text: ``4/255`` for whole or half levels, else a decimal.

    >>> write_pixels(4 / 255), write_pixels(0.25)
    ('4/255', '0.25')
    """
    levels = value * 255
    is_short_decimal = abs(value * 1000 - round(value * 1000)) < 1e-9
    if abs(levels * 2 - round(levels * 2)) < 1e-6 and not is_short_decimal:
        return f"{levels:.3g}/255"
    return f"{value:.6g}"


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {_show(value)}")  # noqa: TRY004  What a reader raises.
    return value


def _read_switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_show(value)}")  # noqa: TRY004
    return value


_READERS: Mapping[str, Callable[[object], Value]] = {
    "text": _read_text,
    "switch": _read_switch,
    "mask": lambda value: str(read_mask(value)),
    "model": read_model,
}
"""Readers of the kinds that have no bounds."""


class Parameter(Section):
    """One declared parameter of a recipe.

    Parameters
    ----------
    kind
        ``pixels``: a distance in pixel units, written ``4/255``; ``number``; ``count``; ``switch``; ``choice``;
        ``text``; ``mask``: a part of the image, written ``area@0.1``; ``model``: the folder of a model of diffusers, or
        ``hf:ORG/NAME``.
    default
        The value if the scenario gives no value; None if the scenario must give a value; ``auto`` if the attack
        computes the value. A mapping contains the defaults of an attack by norm, because lengths in different norms are
        not comparable.
    min, max
        Bounds, both included. ``pixels`` are positive.
    choices
        The values of a ``choice``.
    """

    kind: Kind
    written: Value | dict[Norm, float | int | bool | str] = Field(default=None, alias="default")
    minimum: float | None = Field(default=None, alias="min")
    maximum: float | None = Field(default=None, alias="max")
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        try:
            _ = self.by_norm, self.default
        except ValueError as error:
            raise ValueError(f"default {error}") from None
        return self

    @cached_property
    def by_norm(self) -> Mapping[str, Value]:
        """The defaults by norm, if they differ between the norms of an attack; else empty."""
        written = self.written if isinstance(self.written, dict) else {}
        return {str(norm): self.read(value) for norm, value in written.items()}

    @cached_property
    def default(self) -> Value:
        """The default; if the defaults differ by norm, the default of the first norm."""
        if isinstance(self.written, dict):
            return next(iter(self.by_norm.values()), None)
        return None if self.written is None else self.read(self.written)

    def default_in(self, norm: object) -> Value:
        """Return the default in a norm."""
        return self.by_norm.get(str(norm), self.default)

    def read(self, value: object) -> Value:
        """Turn a YAML value into the parameter's type.

        Raises
        ------
        ValueError
            With a message that says what is wanted.
        """
        if value == "auto" and self.written == "auto":
            return "auto"
        if self.kind == "choice":
            if value not in self.choices:
                raise ValueError(f"must be one of {', '.join(self.choices)}, not {_show(value)}")
            return str(value)
        if self.kind in _READERS:
            return _READERS[self.kind](value)
        number = read_fraction(value)
        if number is None or (self.kind == "count" and number != int(number)):
            raise ValueError(f"must be {_WORDS[self.kind]}, not {_show(value)}")
        self._check_bounds(number, value)
        return int(number) if self.kind == "count" else number

    def _check_bounds(self, number: float, value: object) -> None:
        if self.kind == "pixels" and number <= 0:
            raise ValueError(f"must be greater than 0, not {_show(value)}")
        if self.kind == "pixels" and self.maximum is None and number > _LONGEST:
            raise ValueError(f"is not in pixel units, where a channel goes from 0 to 1: {_show(value)}")
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}, not {_show(value)}")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}, not {_show(value)}")

    def write(self, value: Value) -> str:
        """Return a value as text for the name of a swept pipeline."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return write_pixels(value) if self.kind == "pixels" else f"{value:g}"
        return str(value)


def _show(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
