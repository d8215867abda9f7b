"""The ``gate:`` block of a scenario, or of a file of its own: what may not get worse, and by how much."""

import re
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field, field_validator

from robustbench_aigen.documents.document import Section, show, validated, validated_part
from robustbench_aigen.documents.located_yaml import read_yaml
from robustbench_aigen.stages.parameters import read_fraction

_FLOOR = re.compile(
    r"(?P<metric>\w+) of (?P<pipeline>\S.*?)(?: on (?P<generator>\S.*?))?(?: for (?P<detector>\S.*?))?"
    r"\s*(?:>=|≥)\s*(?P<value>[^\s%]+)\s*(?P<percent>%?)"
)
_FLOOR_FORM = "METRIC of PIPELINE [on GENERATOR] [for DETECTOR] >= NUMBER"


class Floor(NamedTuple):
    """A value that a metric may not fall below; ``generator`` and ``detector`` None where none is named."""

    metric: str
    pipeline: str
    generator: str | None
    detector: str | None
    value: float


def read_floor(text: str) -> Floor:
    """Read ``accuracy of pgd >= 0.40``, ``tpr of pgd on dcgan for minigen/lenet5 ≥ 30 %``.

    Raises
    ------
    ValueError
        With what is wrong with it.
    """
    found = _FLOOR.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"must read '{_FLOOR_FORM}', not {show(text)}")
    number = read_fraction(found["value"])
    if number is not None and found["percent"]:
        number /= 100
    if number is None or not 0 <= number <= 1:
        raise ValueError(f"the floor of {show(text)} must be a number between 0 and 1, or per cent with a %")
    return Floor(found["metric"], found["pipeline"], found["generator"], found["detector"], number)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _share(value: object) -> float:
    number = read_fraction(value)
    if number is None or not 0 <= number < 1:
        raise ValueError(f"must be a fraction, where one point is 0.01, not {show(value)}")
    return number


def _level(value: object) -> float:
    number = read_fraction(value)
    if number is None or not 0 < number < 1:
        raise ValueError(f"must be a number between 0 and 1, not {show(value)}")
    return number


Names = Annotated[list[str], Field(min_length=1), BeforeValidator(_listed)]


class GateSpec(Section):
    """Settings of a gate.

    Parameters
    ----------
    metrics
        Names of metrics, of plugins too.
    pipelines
        Names, names of whole sweeps (``pgd`` for ``pgd[eps=1/255]``), or patterns with ``*`` and ``?``.
    generators
        ``all``, or names or patterns of generators: their fakes with the reals they belong to.
    tolerance
        Tolerated loss, as a fraction: a point is 0.01.
    alpha
        Level of the tests, after Holm's correction.
    floors
        Limits that a metric may not fall below, such as ``accuracy of pgd >= 0.40``.
    """

    metrics: Names = Field(default_factory=lambda: ["accuracy"])
    pipelines: Names = Field(default_factory=lambda: ["*"])
    generators: Names = Field(default_factory=lambda: ["all"])
    tolerance: Annotated[float, BeforeValidator(_share)] = 0.01
    alpha: Annotated[float, BeforeValidator(_level)] = 0.05
    floors: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)

    @field_validator("floors")
    @classmethod
    def _are_floors(cls, value: list[str]) -> list[str]:
        for text in value:
            read_floor(text)
        return value


def load_gate_spec(file: str | Path) -> GateSpec:
    """Read a gate's settings from a scenario with a ``gate:`` block, or from a file of their own.

    Raises
    ------
    UserError
        With file, line, key and what to do.
    """
    located = read_yaml(Path(file))
    content = located.content
    if isinstance(content, dict) and "gate" in content:
        return validated_part(GateSpec, content["gate"], located, ("gate",))
    if isinstance(content, dict) and "pipelines" in content and "detectors" in content:
        raise located.error("the scenario has no 'gate:' block", ())
    return validated(GateSpec, located, "a gate's settings")


def spec_from_options(spec: GateSpec, **changes: object) -> GateSpec:
    """Return settings with some replaced; those that are None stay.

    Raises
    ------
    UserError
        If a value is not one that a file could have.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return spec.replaced(given, Path("options"))
