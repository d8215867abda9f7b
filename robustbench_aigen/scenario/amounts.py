"""Durations and widths of intervals, as users write them. Nothing here needs torch."""

import math

from robustbench_aigen.errors import UserError

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def read_time(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``10m`` or ``1.5h``.

    Raises
    ------
    UserError
        If it is not a duration.
    """
    number = text.strip().rstrip("sminh")
    unit = text.strip()[len(number) :]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise UserError(f"--time '{text}' is not a duration", hint="write 90s, 10m or 1.5h") from None
    if not 0 < seconds < float("inf"):
        raise UserError(f"--time '{text}' must be above 0")
    return seconds


def read_width(text: str) -> float | None:
    """Return the half width of an interval such as ``2%`` as a fraction; None for a text without a per cent sign.

    Raises
    ------
    UserError
        If it is not between 0 and 50 %.
    """
    if not text.strip().endswith("%"):
        return None
    try:
        width = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        width = math.nan
    if not 0 < width < 0.5:
        raise UserError(f"--precision '{text}' is not half the width of an interval", hint="write 2% or 0.5%")
    return width
