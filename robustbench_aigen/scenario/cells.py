"""Sweep expansion: pipelines with lists in them become fully bound pipelines, and those become cells."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.scenario.located_yaml import LocatedYaml, Path_
from robustbench_aigen.scenario.parameters import Value
from robustbench_aigen.scenario.recipes import Kind, ParameterError, Recipe, find_recipe
from robustbench_aigen.scenario.schema import LoadedScenario

CLEAN = "clean"


@dataclass(frozen=True)
class BoundStage:
    """One stage with every parameter given."""

    recipe: Recipe
    params: Mapping[str, Value]

    @property
    def kind(self) -> Kind:
        """``attack`` or ``perturb``."""
        return self.recipe.kind

    def as_dict(self) -> dict[str, Value]:
        """Return the stage as it stands in ``stage_params`` and in the identity of a shard."""
        return {self.kind: self.recipe.name, **self.params}


@dataclass(frozen=True)
class BoundPipeline:
    """A named list of bound stages; ``clean`` has none."""

    name: str
    stages: tuple[BoundStage, ...]

    @property
    def stage_params(self) -> str:
        """The stages as JSON."""
        return json.dumps([stage.as_dict() for stage in self.stages])

    @property
    def attack_positions(self) -> list[int]:
        """Where the attacks stand."""
        return [position for position, stage in enumerate(self.stages) if stage.kind == "attack"]


def expand_pipelines(loaded: LoadedScenario) -> list[BoundPipeline]:
    """Bind every pipeline of a scenario, one per combination of its swept values, ``clean`` first.

    A list given for a parameter is swept; the values stand in the name, ``pgd[eps=1/255]``. Where two stages
    sweep a parameter of the same name, its stage's position goes before it: ``two[0.eps=1/255,1.eps=2/255]``.

    Raises
    ------
    UserError
        For an unknown attack, perturbation or parameter, or a value out of range; with file and line.
    """
    pipelines = [BoundPipeline(CLEAN, ())]
    for name, stages in loaded.scenario.pipelines.items():
        path: Path_ = ("pipelines", name)
        if name == CLEAN:
            raise loaded.yaml.error("'clean' is always run; give this pipeline another name", path)
        if not stages:
            raise loaded.yaml.error(
                "a pipeline needs at least one stage", path, "- {attack: pgd, eps: 4/255}"
            )
        if "[" in name or "]" in name:
            raise loaded.yaml.error(
                "a pipeline's name has no brackets: they hold the values of a sweep", path
            )
        pipelines += _expand(loaded, name, stages, path)
    return pipelines


def _expand(
    loaded: LoadedScenario, name: str, stages: list[dict[str, Any]], path: Path_
) -> list[BoundPipeline]:
    recipes: list[Recipe] = []
    swept: list[tuple[int, str, list[object]]] = []
    for position, stage in enumerate(stages):
        recipe = _recipe(loaded, stage, (*path, position))
        recipes.append(recipe)
        for parameter, value in stage.items():
            if parameter != recipe.kind and isinstance(value, list):
                if not value:
                    raise loaded.yaml.error("an empty list sweeps nothing", (*path, position, parameter))
                swept.append((position, parameter, value))
    pipelines = []
    for values in product(*(range(len(choices)) for _, _, choices in swept)):
        given = [
            {k: v for k, v in stage.items() if k != recipe.kind}
            for stage, recipe in zip(stages, recipes, strict=True)
        ]
        origin: dict[tuple[int, str], Path_] = {}
        for (position, parameter, choices), index in zip(swept, values, strict=True):
            given[position][parameter] = choices[index]
            origin[position, parameter] = (*path, position, parameter, index)
        bound = tuple(
            BoundStage(
                recipe, _bind(loaded.yaml, recipe, given[position], (*path, position), origin, position)
            )
            for position, recipe in enumerate(recipes)
        )
        pipelines.append(BoundPipeline(_swept_name(name, bound, swept), bound))
    names = [pipeline.name for pipeline in pipelines]
    if len(set(names)) < len(names):
        raise loaded.yaml.error("a sweep has the same value twice", path)
    return pipelines


def _recipe(loaded: LoadedScenario, stage: dict[str, Any], path: Path_) -> Recipe:
    kinds: list[Kind] = [kind for kind in ("attack", "perturb") if kind in stage]
    if len(kinds) != 1:
        raise loaded.yaml.error("a stage is either '{attack: NAME, …}' or '{perturb: NAME, …}'", path)
    kind = kinds[0]
    if not isinstance(stage[kind], str):
        raise loaded.yaml.error(
            "must be the name of one recipe", (*path, kind), "use a pipeline for each attack"
        )
    try:
        return find_recipe(kind, stage[kind], loaded.folder)
    except UserError as error:
        raise loaded.located(error, (*path, kind)) from None


def _bind(
    yaml: LocatedYaml,
    recipe: Recipe,
    given: dict[str, Any],
    path: Path_,
    origin: Mapping[tuple[int, str], Path_],
    position: int,
) -> dict[str, Value]:
    try:
        return recipe.bind(given)
    except KeyError as error:
        name = str(error.args[0])
        raise yaml.error(
            f"{recipe.name} has no parameter '{name}'", (*path, name), did_you_mean(name, recipe.parameters)
        ) from None
    except ParameterError as error:
        raise yaml.error(
            error.message, origin.get((position, error.name), (*path, error.name)), error.hint
        ) from None


def _swept_name(name: str, stages: tuple[BoundStage, ...], swept: list[tuple[int, str, list[object]]]) -> str:
    if not swept:
        return name
    names = [parameter for _, parameter, _ in swept]
    parts = []
    for position, parameter, _ in swept:
        stage = stages[position]
        key = f"{position}.{parameter}" if names.count(parameter) > 1 else parameter
        parts.append(f"{key}={stage.recipe.parameters[parameter].write(stage.params[parameter])}")
    return f"{name}[{','.join(parts)}]"
