"""Marks of significance in tables: stars after Holm's correction across the table."""

import math

STARS_NOTE = (
    "* p < 0.05, ** p < 0.01, *** p < 0.001: McNemar's test against clean, Holm's correction across the table"
)
_LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def stars(p_value: float) -> str:
    """Return the stars of an adjusted p-value; none for NaN."""
    return next((mark for level, mark in _LEVELS if p_value < level), "")


def write_p(p_value: float) -> str:
    """Return a p-value as text: three decimals, or ``<0.001``.

    >>> write_p(0.0312), write_p(1e-9), write_p(float("nan"))
    ('0.031', '<0.001', '')
    """
    if math.isnan(p_value):
        return ""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
