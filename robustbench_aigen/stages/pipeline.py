"""Pipelines: stages one after another, one pipeline for every combination of swept values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, TypeVar

from robustbench_aigen.errors import UserError
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.stage import Attack, Stage

S = TypeVar("S", bound=Stage)
CLEAN = "clean"
"""The pipeline without stages, which is always run."""


class Swept(NamedTuple):
    """One value of a sweep, and its place in the stages: ``(0, "eps")`` or ``(0, "through", 0, "quality")``."""

    path: tuple[str | int, ...]
    value: Value


@dataclass(frozen=True)
class Pipeline:
    """A named list of stages; ``clean`` has none.

    Parameters
    ----------
    name
        Unique in a run: ``pgd[eps=1/255]``.
    stages
        The stages, in order.
    smaller
        The same pipeline at the next smaller eps of its final attack, where a sweep shares work: what falls there has
        fallen here.
    family
        The name that the pipelines of one sweep share; the name itself where nothing is swept.
    swept
        The values of this member of a sweep.
    """

    name: str
    stages: tuple[Stage, ...] = ()
    smaller: "Pipeline | None" = None
    family: str = ""
    swept: tuple[Swept, ...] = ()

    def __post_init__(self) -> None:
        if not self.family:
            object.__setattr__(self, "family", self.name)

    @property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        return tuple(stage for stage in self.stages if isinstance(stage, Attack))

    @property
    def ends_in_attack(self) -> bool:
        """Whether the last stage is an attack."""
        return bool(self.stages) and isinstance(self.stages[-1], Attack)

    @property
    def attack_positions(self) -> list[int]:
        """Positions of the attacks in the pipeline."""
        return [position for position, stage in enumerate(self.stages) if isinstance(stage, Attack)]

    @property
    def kinds(self) -> list[str]:
        """``attack`` or ``perturb`` of each stage."""
        return [stage.kind for stage in self.stages]

    def to_dict(self) -> dict[str, object]:
        """Return the pipeline as in ``run.json``."""
        return {
            "name": self.name,
            "family": self.family,
            "swept": [{"path": list(path), "value": value} for path, value in self.swept],
            "smaller": None if self.smaller is None else self.smaller.name,
            "stages": [stage.to_dict() for stage in self.stages],
        }


def expand(name: str, stages: Sequence[Stage], *, share: bool = False) -> list[Pipeline]:
    """Return a pipeline for every combination of the swept values of its stages.

    The values are part of the names, ``pgd[eps=1/255]``. Where two stages sweep a parameter of the same name, its stage's
    position goes before it: ``two[0.eps=1/255,1.eps=2/255]``.

    Parameters
    ----------
    name
        Name of the family.
    stages
        One or more, swept or not.
    share
        Whether pipelines of a sweep over the eps of a final attack are linked, each to the next smaller.

    Raises
    ------
    UserError
        If the name cannot be one, there is no stage, or two members of a sweep are the same.
    """
    if name == CLEAN:
        raise UserError("'clean' is always run; give this pipeline another name")
    if not name.strip():
        raise UserError("a pipeline needs a name")
    if "[" in name or "]" in name:
        raise UserError("the name of a pipeline cannot contain brackets, which hold the values of a sweep")
    if not stages:
        raise UserError("a pipeline needs at least one stage", hint="- {attack: pgd, eps: 4/255}")
    paths = [path for position, stage in enumerate(stages) for path in _swept_paths(position, stage)]
    pipelines: dict[tuple[int, ...], Pipeline] = {}
    for chosen in product(
        *(range(len(_parameters(stages, path).values_of(str(path[-1])))) for path in paths)
    ):
        indices = dict(zip(paths, chosen, strict=True))
        members = tuple(_chosen(stage, (position,), indices) for position, stage in enumerate(stages))
        swept = tuple(Swept(path, _parameters(members, path).params[str(path[-1])]) for path in paths)
        pipelines[chosen] = Pipeline(_name(name, members, swept), members, None, name, swept)
    names = [pipeline.name for pipeline in pipelines.values()]
    if len(set(names)) < len(names):
        raise UserError("a sweep has the same value twice")
    return list((_linked(pipelines, paths) if share else pipelines).values())


def _swept_paths(position: int, stage: Stage) -> list[tuple[str | int, ...]]:
    own: list[tuple[str | int, ...]] = [(position, name) for name in stage.own_sweeps]
    return own + [
        (position, "through", place, name)
        for place, inner in enumerate(stage.through)
        for name in inner.own_sweeps
    ]


def _parameters(stages: Sequence[Stage], path: tuple[str | int, ...]) -> Stage:
    """Return the stage, of some or inside one of them, that a path leads to."""
    stage = stages[int(path[0])]
    return stage.through[int(path[2])] if len(path) > 2 else stage


def _chosen(stage: S, address: tuple[str | int, ...], indices: dict[tuple[str | int, ...], int]) -> S:
    """Return a stage at one combination of swept values."""
    if not stage.is_swept:
        return stage
    given = {name: stage.values_of(name)[indices.get((*address, name), 0)] for name in stage.given}
    through = tuple(
        _chosen(inner, (*address, "through", place), indices) for place, inner in enumerate(stage.through)
    )
    return replace(stage, given=given, through=through)


def _name(family: str, stages: Sequence[Stage], swept: Sequence[Swept]) -> str:
    if not swept:
        return family
    keys = [f"through.{path[-1]}" if "through" in path else str(path[-1]) for path, _ in swept]
    parts = []
    for key, (path, value) in zip(keys, swept, strict=True):
        parameter = _parameters(stages, path).recipe.parameters[str(path[-1])]
        called = key if keys.count(key) == 1 else ".".join(str(part) for part in path)
        parts.append(f"{called}={parameter.write(value)}")
    return f"{family}[{','.join(parts)}]"


def _linked(
    pipelines: dict[tuple[int, ...], Pipeline], paths: Sequence[tuple[str | int, ...]]
) -> dict[tuple[int, ...], Pipeline]:
    """Link the pipelines of a sweep over a final attack's eps, each to the next smaller.

    Sharing is right for accuracy alone, when the attack is the last stage, judged as crafted, and about each image on
    its own.
    """
    first = next(iter(pipelines.values()))
    last = (len(first.stages) - 1, "eps")
    if last not in paths or not first.stages[-1].is_judged_as_crafted or first.attacks[-1].recipe.joint:
        return pipelines
    place = list(paths).index(last)
    linked: dict[tuple[int, ...], Pipeline] = {}
    rungs: dict[tuple[int, ...], Pipeline] = {}
    for chosen in sorted(pipelines, key=lambda chosen: pipelines[chosen].stages[-1].eps or 0):
        others = (*chosen[:place], *chosen[place + 1 :])
        linked[chosen] = rungs[others] = replace(pipelines[chosen], smaller=rungs.get(others))
    return {chosen: linked[chosen] for chosen in pipelines}
