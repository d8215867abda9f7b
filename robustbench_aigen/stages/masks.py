"""Masks: the part of an image that a stage may change, as written in a scenario."""

from math import isfinite
from pathlib import Path
from typing import Literal, NamedTuple

Shape = Literal["area", "border", "box", "text", "file"]

FORMS = "area@0.1, border@0.1, box@0,0,0.5,0.5, text@WORDS or file@mask.png"
MASK = "mask"
"""The parameter of every stage that restricts the stage to a part of the image."""


class Mask(NamedTuple):
    """A part of an image.

    Parameters
    ----------
    shape
        ``area``: a window at a place that each image draws. ``border``: a frame. ``box``: a rectangle. ``text``: the
        letters of a line of text at the bottom. ``file``: the white pixels of an image file.
    shares
        ``area``: share of the image's area. ``border``: width of the frame as a share of the shorter side. ``box``: left,
        top, right and bottom as shares of the width and of the height.
    text
        The words of ``text``, or the path of ``file``.
    """

    shape: Shape
    shares: tuple[float, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return f"{self.shape}@{self.text or ','.join(f'{share:g}' for share in self.shares)}"

    @property
    def is_drawn(self) -> bool:
        """Whether each image draws the place of its mask."""
        return self.shape == "area"


def read_mask(value: object) -> Mask:
    """Read a mask; raise ValueError with what is wanted."""
    name, at, rest = value.partition("@") if isinstance(value, str) else ("", "", "")
    if at and rest.strip():
        if name == "text":
            return Mask("text", text=rest)
        if name == "file":
            return Mask("file", text=str(Path(rest).expanduser().absolute()))
        shares = _numbers(rest)
        if name == "box" and len(shares) == 4:
            return Mask("box", _checked_box(shares, value))
        if name == "area" and len(shares) == 1:
            return Mask("area", _below(1, shares, value, "share of the image such as area@0.1"))
        if name == "border" and len(shares) == 1:
            return Mask("border", _below(0.5, shares, value, "share of the shorter side such as border@0.1"))
    raise ValueError(f"must be a mask such as {FORMS}, not '{value}'")


def _numbers(text: str) -> tuple[float, ...]:
    """Return numbers with commas between them; none where one is something else."""
    numbers = [_number(part) for part in text.split(",")]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def _checked_box(shares: tuple[float, ...], value: object) -> tuple[float, ...]:
    left, top, right, bottom = shares
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"is an empty box or leaves the image: '{value}'; a box is left,top,right,bottom as shares from 0 to 1"
        )
    return shares


def _below(most: float, shares: tuple[float, ...], value: object, wanted: str) -> tuple[float, ...]:
    if not 0 < shares[0] <= most:
        raise ValueError(f"is outside 0 to {most:g}: '{value}'; write a {wanted}")
    return shares


def _number(text: str) -> float | None:
    """Read a finite number; None where the text is something else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def starting_at(value: object, folder: Path) -> object:
    """Return a mask as written, or several of a sweep, with the path of a file starting at a folder."""
    if isinstance(value, list | tuple):
        return [starting_at(each, folder) for each in value]
    if isinstance(value, str) and value.startswith("file@"):
        return f"file@{folder / Path(value.removeprefix('file@')).expanduser()}"
    return value
