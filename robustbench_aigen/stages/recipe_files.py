"""Reads recipe files, checks them, and finds a recipe by its name."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.documents.document import Section, validated
from robustbench_aigen.documents.located_yaml import LocatedYaml, Path_, read_yaml
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.imports import import_callable, importable
from robustbench_aigen.stages.parameters import Kind as ParameterKind
from robustbench_aigen.stages.parameters import Parameter, Value
from robustbench_aigen.stages.recipe import (
    Access,
    Backends,
    ChainStage,
    Kind,
    Norm,
    ParameterError,
    Recipe,
    reference,
    references,
)


class ParameterSpec(Section):
    """A parameter as a recipe file declares it."""

    kind: ParameterKind
    default: float | int | bool | str | dict[Norm, float | int | bool | str] | None = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()


class RecipeFile(Section):
    """A recipe as it stands in its file."""

    kind: Kind
    name: str
    summary: str
    source: str = ""
    norms: tuple[Norm, ...] = ()
    params: dict[str, ParameterSpec] = Field(default_factory=dict)
    backends: Backends = Backends()
    implementation: str | None = None
    random: bool = False
    severities: dict[str, tuple[Any, Any, Any, Any, Any]] = Field(default_factory=dict)
    access: Access = "gradients"
    minimum_norm: bool = False
    differentiable: str | None = None
    needs_surrogate: bool = False
    same_size: bool = False
    joint: bool = False
    chain: list[dict[str, Any]] | None = None


def read_recipe(file: Path) -> Recipe:
    """Read and check one recipe file.

    Raises
    ------
    UserError
        If it is not a recipe; file, line and key are named.
    """
    return _read(file, ())


def _read(file: Path, within: tuple[Path, ...]) -> Recipe:
    """Read a recipe that the chains of the files ``within``, outermost first, contain."""
    located = read_yaml(file)
    content = validated(RecipeFile, located, "a recipe")
    _import_beside(file, content)
    parameters = {
        name: _parameter(located, name, spec, content.norms) for name, spec in content.params.items()
    }
    if content.kind == "attack":
        backends = content.backends.names()
        if not backends or not content.norms:
            raise located.error("an attack needs 'norms' and at least one of its 'backends'", ())
        if "eps" not in parameters and set(content.norms) != {"spatial"}:
            raise located.error("an attack needs the parameter 'eps': its budget is checked", ("params",))
        _check_arguments(located, content.backends, set(parameters) | {"norm"})
        parameters = {
            "backend": Parameter("choice", backends[0], choices=backends),
            "norm": Parameter("choice", content.norms[0], choices=content.norms),
            **parameters,
        }
    elif content.implementation is None and content.chain is None:
        raise located.error(
            "a perturbation needs 'implementation: package.module:name', or a 'chain' of others", ()
        )
    chain = _chain(located, content, parameters, (*within, file.resolve()))
    severities = {
        name: _five(located, name, values, parameters) for name, values in content.severities.items()
    }
    if severities:
        parameters["severity"] = Parameter("count", None, 1, 5)
    return Recipe(
        content.kind,
        content.name,
        content.summary,
        content.source,
        content.norms,
        parameters,
        content.backends,
        content.implementation,
        content.random or any(stage.recipe.random for stage in chain),
        severities,
        content.access,
        content.minimum_norm,
        content.differentiable,
        content.needs_surrogate,
        content.same_size,
        content.joint,
        chain,
    )


def _import_beside(file: Path, content: RecipeFile) -> None:
    """Import the modules of a user's functions, which may lie beside the recipe; what is missing is said later."""
    native = content.backends.native
    for named in (content.implementation, content.differentiable, native and native.implementation):
        module = (named or "").partition(":")[0]
        if module and not module.startswith(f"{__package__.partition('.')[0]}."):
            with importable(file.parent), suppress(UserError):
                import_callable(str(named))


def _chain(
    located: LocatedYaml, content: RecipeFile, parameters: Mapping[str, Parameter], within: tuple[Path, ...]
) -> tuple[ChainStage, ...]:
    """Read the stages of a chain and check them as far as the chain's own parameters have defaults."""
    if content.chain is None:
        return ()
    if content.kind == "attack":
        raise located.error("an attack has no chain: a pipeline puts perturbations after it", ("chain",))
    for key in ("implementation", "random", "differentiable"):
        if getattr(content, key):
            raise located.error(f"'{key}' does not go with 'chain': the stages have their own", (key,))
    if not content.chain:
        raise located.error("a chain needs at least one stage", ("chain",), "- {perturb: jpeg, quality: 75}")
    used = {reference(value) for stage in content.chain for value in stage.values()}
    for name in parameters:
        if name not in used:
            raise located.error(f"no stage of the chain uses '${name}'", ("params", name))
    return tuple(
        _chain_stage(located, stage, parameters, ("chain", position), within)
        for position, stage in enumerate(content.chain)
    )


def _chain_stage(
    located: LocatedYaml,
    stage: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    path: Path_,
    within: tuple[Path, ...],
) -> ChainStage:
    name = stage.get("perturb")
    if not isinstance(name, str):
        raise located.error("a stage of a chain is '{perturb: NAME, …}'", path)
    is_own = name.endswith((".yaml", ".yml"))
    file = located.file.parent / name if is_own else shipped_files("attacks").get(name)
    if file is None:
        hint = did_you_mean(name, shipped_files("attacks"))
        raise located.error(f"unknown perturbation '{name}'", (*path, "perturb"), hint)
    if file.resolve() in within:
        names = " → ".join([*(other.stem for other in within), file.stem])
        raise located.error(f"the chain contains itself: {names}", (*path, "perturb"))
    recipe = _read(file, within)
    if recipe.kind != "perturb":
        raise located.error(f"'{name}' is an attack; a chain has perturbations alone", (*path, "perturb"))
    given = {key: value for key, value in stage.items() if key != "perturb"}
    owns = {key: own for key, value in given.items() if (own := reference(value)) is not None}
    for key, own in owns.items():
        if own not in parameters:
            raise located.error(f"no parameter '{own}'", (*path, key), did_you_mean(own, parameters))
    # What has no default is checked when the chain is bound.
    later = {key for key, own in owns.items() if parameters[own].default is None}
    known = {
        key: parameters[owns[key]].default if key in owns else value
        for key, value in given.items()
        if key not in later
    }
    try:
        recipe.bind(known)
    except KeyError as error:
        key = str(error.args[0])
        hint = did_you_mean(key, recipe.parameters)
        raise located.error(f"{recipe.name} has no parameter '{key}'", (*path, key), hint) from None
    except ParameterError as error:
        if error.name not in later:
            raise located.error(error.message, (*path, error.name), error.hint) from None
    return ChainStage(recipe, given)


def _check_arguments(located: LocatedYaml, backends: Backends, names: set[str]) -> None:
    """Every ``$name`` in a library's arguments is a parameter of the recipe."""
    for library in ("torchattacks", "art"):
        for norm, call in (getattr(backends, library) or {}).items():
            for argument, value in call.args.items():
                for name in references(value):
                    if name not in names:
                        path = ("backends", library, norm, "args", argument)
                        raise located.error(f"no parameter '{name}'", path, did_you_mean(name, names))


def _parameter(located: LocatedYaml, name: str, spec: ParameterSpec, norms: tuple[Norm, ...]) -> Parameter:
    given, path = spec.default, ("params", name)
    by_norm = given if isinstance(given, dict) else {}
    plain = None if isinstance(given, dict) else given
    parameter = Parameter(spec.kind, plain, spec.min, spec.max, spec.choices)
    if given is None or given == "auto":
        return parameter
    if name == "eps" and len(norms) > 1 and not by_norm:
        hint = "write {linf: 4/255, l2: 0.5}"
        raise located.error("default is one length for several norms", path, hint)
    if by_norm and set(by_norm) != set(norms):
        raise located.error(f"default must name every norm of the recipe: {', '.join(norms)}", path)
    try:
        if not by_norm:
            return replace(parameter, default=parameter.read(plain))
        read = {str(norm): parameter.read(by_norm[norm]) for norm in norms}
    except ValueError as error:
        raise located.error(f"default {error}", path) from None
    return replace(parameter, default=read[norms[0]], by_norm=read)


def _five(
    located: LocatedYaml, name: str, values: tuple[object, ...], parameters: Mapping[str, Parameter]
) -> tuple[Value, ...]:
    """Read the values of a parameter at the five severities."""
    if name not in parameters:
        raise located.error(
            "is no parameter of this recipe", ("severities", name), did_you_mean(name, parameters)
        )
    try:
        return tuple(parameters[name].read(value) for value in values)
    except ValueError as error:
        raise located.error(str(error), ("severities", name)) from None


@cache
def shipped_recipe(name: str) -> Recipe:
    """Return a recipe of the catalogue; the others are not read."""
    return read_recipe(shipped_files("attacks")[name])


@cache
def shipped_recipes() -> dict[str, Recipe]:
    """Return every recipe of the catalogue by name."""
    return {name: shipped_recipe(name) for name in shipped_files("attacks")}


def is_shipped(recipe: Recipe) -> bool:
    """Whether a recipe is one of the catalogue, all of it: what it names is there."""
    return recipe.name in shipped_files("attacks") and recipe == shipped_recipe(recipe.name)


def find_recipe(kind: Kind, name: str, folder: Path) -> Recipe:
    """Find a shipped recipe by name, or the user's own by the path of its YAML file.

    Parameters
    ----------
    kind
        ``attack`` or ``perturb``, as the scenario calls it.
    name
        A name of the catalogue, or a path ending in ``.yaml``, relative to ``folder``.
    folder
        Where the scenario file is.

    Raises
    ------
    UserError
        If there is none of that name and kind.
    """
    if name.endswith((".yaml", ".yml")):
        recipe = read_recipe(folder / name)
        if recipe.kind != kind:
            raise UserError(f"'{name}' is a recipe of kind {recipe.kind}, not {kind}")
        return recipe
    if name in shipped_files("attacks"):
        recipe = shipped_recipe(name)
        if recipe.kind == kind:
            return recipe
        raise UserError(
            f"'{name}' is not an {kind}" if kind == "attack" else f"'{name}' is not a perturbation",
            hint=f"write {recipe.kind}: {name}",
        )
    word = "attack" if kind == "attack" else "perturbation"
    known = [recipe.name for recipe in shipped_recipes().values() if recipe.kind == kind]
    raise UserError(f"unknown {word} '{name}'", hint=did_you_mean(name, known))
