"""Figures of a report, and the registry of all figures: built-in figures and those of plugins."""

from typing import TYPE_CHECKING, NamedTuple

from robustbench_aigen.registry import Registry
from robustbench_aigen.views.making import Maker, register

if TYPE_CHECKING:  # A text report does not need matplotlib.
    from matplotlib.figure import Figure as Drawing


class Figure(NamedTuple):
    """A figure of a report: stem of its files in ``figures/``, caption, and the drawing."""

    name: str
    caption: str
    drawing: "Drawing"


class Drawn(NamedTuple):
    """A figure that was saved: stem of its files, caption, and the data URI that a page embeds."""

    name: str
    caption: str
    uri: str


FIGURES: Registry[Maker[Figure]] = Registry("figure", "robustbench_aigen.views.figures")
figure = register(FIGURES)
"""Register ``(runs: JoinedRuns) -> Figure | None`` as a figure of reports: ``@figure(order=45)``."""
