"""The flags of the ``trust`` column: their meanings, and the cells that raised them."""

from typing import NamedTuple


class Flag(NamedTuple):
    """A flag of the ``trust`` column and what it means."""

    name: str
    meaning: str


class RaisedFlag(NamedTuple):
    """A flag on a cell, with the measured value in a sentence."""

    flag: str
    detector: str
    pipeline: str
    evidence: str


class Measurement(NamedTuple):
    """The result of a check: whether its flag is raised, and the measured value in a sentence."""

    raised: bool
    evidence: str


ONE_CLASS = "one_class"
"""The flag of a detector that gives nearly every image the same verdict."""
UNCHECKED = Flag("unchecked", "no check for hidden gradients and for weak attacks was run")
"""The flag of cells that no probe examined, because the run has ``trust: off`` or imported scores."""
