"""Brings the ``run.json`` of an earlier format to the present one, in memory: folders are never rewritten."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeGuard

FORMAT = 1
"""The newest format of run folders and baselines, which this version writes; without ``format`` a file has format 0."""

_Path = tuple[str | int, ...]


def upgrade(content: Mapping[str, object]) -> dict[str, object]:
    """Return the content of a ``run.json`` or ``baseline.json`` in the present format.

    What is not as its format says stays as it is, for the checks of the present format to refuse.
    """
    number = content.get("format", 0)
    upgraded = dict(content)
    for step in range(number if isinstance(number, int) else 0, FORMAT):
        upgraded = {**_STEPS[step](upgraded), "format": step + 1}
    return upgraded


def from_0(content: dict[str, object]) -> dict[str, object]:
    """Return format 1 of a format 0: pipelines as a list, with what was swept.

    Format 0 has stages by the names of pipelines, and the links of shared sweeps in ``shared_sweeps``. What was swept
    is what differs between the pipelines of one family and is part of their names.
    """
    pipelines = content.get("pipelines")
    if not isinstance(pipelines, dict) or not all(map(_are_stages, pipelines.values())):
        return content
    shared = content.get("shared_sweeps")
    smaller = shared if isinstance(shared, dict) else {}
    families: dict[str, dict[str, dict[_Path, object]]] = {}
    for name, stages in pipelines.items():
        families.setdefault(_family(name), {})[name] = dict(_flat(stages))
    listed = [
        {
            "name": name,
            "family": _family(name),
            "swept": _swept(name, families[_family(name)]),
            "smaller": smaller.get(name),
            "stages": stages,
        }
        for name, stages in pipelines.items()
    ]
    upgraded = {**content, "pipelines": listed}
    upgraded.pop("shared_sweeps", None)
    return upgraded


_STEPS: Mapping[int, Callable[[dict[str, object]], dict[str, object]]] = {0: from_0}
"""Functions from the content of each earlier format to the next format."""


def _are_stages(stages: object) -> TypeGuard[list[dict[str, object]]]:
    return isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages)


def _family(name: str) -> str:
    return name.partition("[")[0]


def _flat(stages: Sequence[Mapping[str, object]], above: _Path = ()) -> Iterator[tuple[_Path, object]]:
    """Yield the parameters of stages by where they stand, those of a stage before those of its ``through``."""
    for number, stage in enumerate(stages):
        place = (*above, number)
        yield from (((*place, name), value) for name, value in stage.items() if name != "through")
        inner = stage.get("through", [])
        if _are_stages(inner):
            yield from _flat(inner, (*place, "through"))


def _swept(name: str, family: Mapping[str, Mapping[_Path, object]]) -> list[dict[str, object]]:
    """Return the swept values of one pipeline of a family.

    A parameter that follows from a swept one, such as a step size, differs too: those of the name alone were given.
    A sweep of one value differs nowhere: its parameter is found where only one stage has it.
    """
    own = family[name]
    written = name.partition("[")[2]
    named = {path: place for path in own if (place := _place(str(path[-1]), written)) is not None}
    swept = [
        path
        for path in named
        if any(member.get(path) != own[path] for member in family.values())
        or sum(other[-1] == path[-1] for other in named) == 1
    ]
    swept.sort(key=lambda path: (path[0], path[1:-1], named[path]))
    return [{"path": list(path), "value": own[path]} for path in swept]


def _place(parameter: str, written: str) -> int | None:
    """Return the position of a parameter in the brackets of a name, None if it is missing."""
    match = re.search(rf"(?:^|[,.]){re.escape(parameter)}=", written)
    return None if match is None else match.start()
