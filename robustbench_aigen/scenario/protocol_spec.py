"""The ``protocol:`` block of a scenario: which published evaluation it follows."""

from datetime import date
from typing import Literal

from pydantic import Field

from robustbench_aigen.documents.document import Section

Trainings = Literal["all_but_one", "chronological"]


class ProtocolSpec(Section):
    """A published evaluation that a scenario follows.

    Parameters
    ----------
    source
        The paper, with its section, or the code.
    ours
        The parts that are not those of the source.
    training
        The training sets of ``cross-generator RECIPE --protocol``: all generators but one, or all until a date.
    released
        Release dates of generators, before those that the package knows.
    """

    source: str
    ours: str = ""
    training: Trainings | None = None
    released: dict[str, date] = Field(default_factory=dict)
