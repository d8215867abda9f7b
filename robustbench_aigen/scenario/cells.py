"""Sweep expansion: pipelines with lists in them become fully bound pipelines, and those become cells."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from robustbench_aigen.documents.document import validated_part
from robustbench_aigen.documents.located_yaml import LocatedYaml, Path_
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import LoadedScenario
from robustbench_aigen.stages.parameters import Parameter, Value
from robustbench_aigen.stages.recipe import Kind, ParameterError, Recipe
from robustbench_aigen.stages.recipe_files import find_recipe

CLEAN = "clean"


@dataclass(frozen=True)
class BoundStage:
    """One stage with every parameter given.

    Parameters
    ----------
    recipe, params
        What it is, and its bound parameters.
    through
        Of an attack: perturbations inside the attacked function.
    eot
        Of an attack: random draws of ``through`` that a gradient is averaged over (Athalye et al. 2018).
    surrogate
        Of an attack: the detector that it is crafted on, where that is not the scored one.
    """

    recipe: Recipe
    params: Mapping[str, Value]
    through: tuple["BoundStage", ...] = ()
    eot: int = 1
    surrogate: DetectorSpec | None = None

    @property
    def kind(self) -> Kind:
        """``attack`` or ``perturb``."""
        return self.recipe.kind

    @property
    def is_judged_as_crafted(self) -> bool:
        """Whether success against the attacked function is success: no surrogate, nothing random in between."""
        return self.surrogate is None and not any(stage.recipe.random for stage in self.through)

    def as_dict(self) -> dict[str, Any]:
        """Return the stage as it stands in ``stage_params`` and in the identity of a shard."""
        stage: dict[str, Any] = {self.kind: self.recipe.name, **self.params}
        if self.through:
            stage |= {"through": [inner.as_dict() for inner in self.through], "eot": self.eot}
        if self.surrogate is not None:
            said = self.surrogate.model_dump(exclude_none=True, mode="json")
            stage["surrogate"] = said["id"] if said.keys() == {"id"} else said
        return stage


@dataclass(frozen=True)
class BoundPipeline:
    """A named list of bound stages; ``clean`` has none.

    ``smaller`` is the same pipeline at the next smaller eps of its final attack, where a sweep shares work: what
    falls there has fallen here.
    """

    name: str
    stages: tuple[BoundStage, ...]
    smaller: "BoundPipeline | None" = None

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
        if not name.strip():
            raise loaded.yaml.error("a pipeline needs a name", ("pipelines",))
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


_ATTACK_KEYS = {"through", "eot", "surrogate"}
"""What a scenario may say of any attack, whatever its recipe."""


@dataclass(frozen=True)
class _Swept:
    """A list in a stage: where it stands below the pipeline, its parameter, how names call it, its values."""

    address: Path_
    parameter: Parameter
    key: str
    values: list[object]


def _expand(
    loaded: LoadedScenario, name: str, stages: list[dict[str, Any]], path: Path_
) -> list[BoundPipeline]:
    swept: list[_Swept] = []
    for position, stage in enumerate(stages):
        recipe = _recipe(loaded, stage, (*path, position))
        swept += _lists(loaded.yaml, recipe, stage, path, (position,))
        for inner, inner_stage in enumerate(_through(loaded.yaml, recipe, stage, (*path, position))):
            address = (position, "through", inner)
            inner_recipe = _recipe(loaded, inner_stage, (*path, *address), only="perturb")
            _through(loaded.yaml, inner_recipe, inner_stage, (*path, *address))
            swept += _lists(loaded.yaml, inner_recipe, inner_stage, path, address)
    pipelines: dict[tuple[int, ...], BoundPipeline] = {}
    for chosen in product(*(range(len(sweep.values)) for sweep in swept)):
        indices = {sweep.address: index for sweep, index in zip(swept, chosen, strict=True)}
        bound = tuple(
            _bind_stage(loaded, stage, path, (position,), indices) for position, stage in enumerate(stages)
        )
        pipelines[chosen] = BoundPipeline(_swept_name(name, bound, swept), bound)
    names = [pipeline.name for pipeline in pipelines.values()]
    if len(set(names)) < len(names):
        raise loaded.yaml.error("a sweep has the same value twice", path)
    return list(_with_ladder(loaded, pipelines, swept).values())


def _lists(
    yaml: LocatedYaml, recipe: Recipe, stage: dict[str, Any], path: Path_, address: Path_
) -> list[_Swept]:
    """Return the swept parameters of one stage."""
    found = []
    for name, value in stage.items():
        if name in {recipe.kind, *_ATTACK_KEYS} or not isinstance(value, list):
            continue
        if not value:
            raise yaml.error("an empty list sweeps nothing", (*path, *address, name))
        if name not in recipe.parameters:
            raise _unknown(yaml, recipe, name, (*path, *address))
        key = f"through.{name}" if "through" in address else name
        found.append(_Swept((*address, name), recipe.parameters[name], key, value))
    return found


def _through(yaml: LocatedYaml, recipe: Recipe, stage: dict[str, Any], path: Path_) -> list[dict[str, Any]]:
    """Return the stages inside an attacked function, none for a perturbation."""
    for name in _ATTACK_KEYS & stage.keys():
        if recipe.kind != "attack":
            raise yaml.error(f"only an attack has '{name}'", (*path, name))
    inner = stage.get("through", [])
    if "through" in stage and not (
        inner and isinstance(inner, list) and all(isinstance(i, dict) for i in inner)
    ):
        raise yaml.error(
            "must be a list of perturbations, - {perturb: jpeg, quality: 75}", (*path, "through")
        )
    return inner


def _bind_stage(
    loaded: LoadedScenario,
    stage: dict[str, Any],
    path: Path_,
    address: Path_,
    indices: Mapping[Path_, int],
) -> BoundStage:
    """Bind one stage at one combination of swept values."""
    yaml, place = loaded.yaml, (*path, *address)
    recipe = _recipe(loaded, stage, place)
    given, origin = {}, {}
    for name, value in stage.items():
        if name in {recipe.kind, *_ATTACK_KEYS}:
            continue
        index = indices.get((*address, name))
        given[name] = value if index is None else value[index]
        origin[name] = (*place, name) if index is None else (*place, name, index)
    params = _bind(yaml, recipe, given, place, origin)
    through = tuple(
        _bind_stage(loaded, inner, path, (*address, "through", position), indices)
        for position, inner in enumerate(stage.get("through", []))
    )
    try:
        eot = int(_EOT.read(stage.get("eot", 1)) or 1)
    except ValueError as error:
        raise yaml.error(f"eot {error}", (*place, "eot")) from None
    if eot > 1 and not any(inner.recipe.random for inner in through):
        raise yaml.error("eot averages over random perturbations, and 'through' has none", (*place, "eot"))
    if eot > 1 and params["backend"] != "native":
        raise yaml.error("eot averages the gradients of the native backend alone", (*place, "eot"))
    surrogate = None
    if "surrogate" in stage:
        surrogate = validated_part(DetectorSpec, stage["surrogate"], yaml, (*place, "surrogate"))
    elif recipe.needs_surrogate:
        raise yaml.error(
            f"{recipe.name} needs the detector it is crafted on", place, "surrogate: minigen/lenet5"
        )
    return BoundStage(recipe, params, through, eot, surrogate)


_EOT = Parameter("count", 1, 1)


def _with_ladder(
    loaded: LoadedScenario, pipelines: dict[tuple[int, ...], BoundPipeline], swept: list[_Swept]
) -> dict[tuple[int, ...], BoundPipeline]:
    """Link the pipelines of a sweep over a final attack's eps, each to the next smaller, where work is shared.

    Sharing is right for accuracy alone, when the attack is the last stage, judged as crafted, and about each image on
    its own.
    """
    first = next(iter(pipelines.values()))
    last = (len(first.stages) - 1, "eps")
    place = next((number for number, sweep in enumerate(swept) if sweep.address == last), None)
    if place is None or loaded.scenario.mode != "accuracy" or not loaded.scenario.share_sweeps:
        return pipelines
    if not first.stages[-1].is_judged_as_crafted or first.stages[-1].recipe.joint:
        return pipelines
    linked: dict[tuple[int, ...], BoundPipeline] = {}
    rungs: dict[tuple[int, ...], BoundPipeline] = {}
    for chosen in sorted(
        pipelines, key=lambda chosen: float(pipelines[chosen].stages[-1].params["eps"] or 0)
    ):
        others = (*chosen[:place], *chosen[place + 1 :])
        linked[chosen] = rungs[others] = replace(pipelines[chosen], smaller=rungs.get(others))
    return {chosen: linked[chosen] for chosen in pipelines}


def _recipe(loaded: LoadedScenario, stage: dict[str, Any], path: Path_, only: Kind | None = None) -> Recipe:
    kinds: list[Kind] = [kind for kind in ("attack", "perturb") if kind in stage]
    if len(kinds) != 1:
        near = [] if kinds else [did_you_mean(str(key), ("attack", "perturb")) for key in stage]
        hint = next((said for said in near if said.startswith("did you mean")), None)
        raise loaded.yaml.error("a stage is either '{attack: NAME, …}' or '{perturb: NAME, …}'", path, hint)
    kind = kinds[0]
    if only not in {None, kind}:
        raise loaded.yaml.error("only perturbations stand inside the attacked function", (*path, kind))
    if not isinstance(stage[kind], str):
        raise loaded.yaml.error(
            "must be the name of one recipe", (*path, kind), "use a pipeline for each attack"
        )
    try:
        return find_recipe(kind, stage[kind], loaded.folder)
    except UserError as error:
        raise loaded.located(error, (*path, kind)) from None


def _bind(
    yaml: LocatedYaml, recipe: Recipe, given: dict[str, Any], path: Path_, origin: Mapping[str, Path_]
) -> dict[str, Value]:
    try:
        return recipe.bind(given)
    except KeyError as error:
        raise _unknown(yaml, recipe, str(error.args[0]), path) from None
    except ParameterError as error:
        raise yaml.error(error.message, origin.get(error.name, (*path, error.name)), error.hint) from None


def _unknown(yaml: LocatedYaml, recipe: Recipe, name: str, path: Path_) -> UserError:
    known = [*recipe.parameters, *(_ATTACK_KEYS if recipe.kind == "attack" else ())]
    return yaml.error(f"{recipe.name} has no parameter '{name}'", (*path, name), did_you_mean(name, known))


def _swept_name(name: str, stages: tuple[BoundStage, ...], swept: list[_Swept]) -> str:
    if not swept:
        return name
    keys = [sweep.key for sweep in swept]
    parts = []
    for sweep in swept:
        position, *inner = sweep.address
        stage = stages[int(position)]
        if inner[0] == "through":
            stage = stage.through[int(inner[1])]
        key = sweep.key
        if keys.count(key) > 1:
            key = ".".join(str(part) for part in sweep.address)
        parts.append(f"{key}={sweep.parameter.write(stage.params[str(sweep.address[-1])])}")
    return f"{name}[{','.join(parts)}]"
