"""Recipes: the YAML files that name an attack or a perturbation, its parameters and who computes it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.scenario.located_yaml import LocatedYaml, Path_, read_yaml
from robustbench_aigen.scenario.parameters import Kind as ParameterKind
from robustbench_aigen.scenario.parameters import Parameter, Value
from robustbench_aigen.scenario.validation import Section, validated

Kind = Literal["attack", "perturb"]
Norm = Literal["linf", "l2", "l0", "spatial"]
Access = Literal["gradients", "scores", "decisions"]


@dataclass(frozen=True)
class Recipe:
    """A named attack or perturbation.

    Parameters
    ----------
    kind, name, summary, source
        What it is, a line about it, and the paper it comes from.
    norms
        Norms of the budget that an attack keeps; empty for a perturbation.
    parameters
        Everything a scenario may set, ``backend`` and ``norm`` included.
    backends
        Per backend of an attack, what its adapter needs (class and arguments, or an implementation).
    implementation
        ``package.module:name`` of a perturbation's function; None for a chain.
    random
        Whether the perturbation draws random numbers; a chain does if one of its stages does.
    severities
        Of a perturbation: the values of some parameters at severities 1 to 5.
    access
        What an attack asks of the detector: gradients, scores, or verdicts alone.
    minimum_norm
        Whether an attack looks for the smallest perturbation instead of filling the budget. What it finds is then
        moved past the boundary, on the 8-bit grid inside eps.
    differentiable
        ``package.module:name`` of a differentiable stand-in of the perturbation, for the gradients of adaptive
        attacks: (pixels[, streams], **parameters) → pixels, float32.
    needs_surrogate
        Whether an attack is crafted on another detector, which the scenario names.
    same_size
        Whether a native attack takes images of one size only.
    chain
        The perturbations that this one is made of, in their order; empty for one with a function of its own.
    """

    kind: Kind
    name: str
    summary: str
    source: str
    norms: tuple[Norm, ...]
    parameters: Mapping[str, Parameter]
    backends: "Backends"
    implementation: str | None
    random: bool
    severities: Mapping[str, tuple[Value, ...]]
    access: Access = "gradients"
    minimum_norm: bool = False
    differentiable: str | None = None
    needs_surrogate: bool = False
    same_size: bool = False
    chain: tuple["ChainStage", ...] = ()

    def bind(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Fill in defaults and read the given values, none of which is a list.

        Raises
        ------
        KeyError
            If a parameter is unknown; its first argument is the name.
        ParameterError
            If a value is not what the parameter takes.
        """
        for name in given:
            if name not in self.parameters:
                raise KeyError(name)
        bound: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            try:
                bound[name] = parameter.read(given[name]) if name in given else parameter.default
            except ValueError as error:
                raise ParameterError(name, f"{name} {error}") from None
        for name, value in bound.items():
            if value is None and name != "severity" and not ("severity" in given and name in self.severities):
                raise ParameterError(name, f"{name} has no default and must be given")
        if "severity" in given:
            self._apply_severity(bound, given)
        else:
            bound.pop("severity", None)
        if self.kind == "attack":
            self._check_attack(bound, given)
        for stage in self.chain:
            stage.bind(bound)
        return bound

    def arguments(self, bound: Mapping[str, Value]) -> dict[str, Value]:
        """Return what a perturbation's function is called with: bound parameters less the severity that set them."""
        return {name: value for name, value in bound.items() if name != "severity"}

    def operations(self, bound: Mapping[str, Value]) -> "tuple[Operation, ...]":
        """Return what a perturbation does to an image, step by step: itself, or the stages of a chain."""
        if not self.chain:
            return (Operation(self, bound),)
        return tuple(
            operation for stage in self.chain for operation in stage.recipe.operations(stage.bind(bound))
        )

    def _apply_severity(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        for name, values in self.severities.items():
            if name in given:
                raise ParameterError(name, f"{name} is what severity sets; give one of the two")
            bound[name] = values[int(bound["severity"] or 1) - 1]

    def _check_attack(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        able = [name for name in self.backends.names() if self.backends.has(name, bound["norm"])]
        if "backend" not in given and able:
            bound["backend"] = able[0]
        eps, norm = bound.get("eps"), bound["norm"]
        for name in ("eps", "step_size"):
            value = bound.get(name)
            if isinstance(value, float) and norm == "linf" and value >= 1:
                message = f"{name} {value:g} is not in pixel units: pixels are in [0, 1]"
                raise ParameterError(name, message, f"write {name}: {value:g}/255")
        if bound.get("step_size") == "auto" and isinstance(eps, float):
            # Madry et al. 2018, appendix: 2.5 · eps / steps reaches the boundary from any start inside.
            bound["step_size"] = 2.5 * eps / int(bound["steps"] or 1)
        if bound["backend"] not in able:
            raise ParameterError("norm", f"{self.name} through {bound['backend']} has no {norm} version")


class Operation(NamedTuple):
    """A perturbation with a function of its own, and its parameters."""

    recipe: Recipe
    params: Mapping[str, Value]


@dataclass(frozen=True)
class ChainStage:
    """One perturbation of a chain.

    Parameters
    ----------
    recipe
        The perturbation; it may be a chain itself.
    given
        Values of its parameters as the chain's file gives them; ``$name`` stands for a parameter of the chain.
    """

    recipe: Recipe
    given: Mapping[str, object]

    def bind(self, outer: Mapping[str, Value]) -> dict[str, Value]:
        """Bind the stage's parameters to what the chain's own are bound to.

        Raises
        ------
        ParameterError
            If a value of the chain is not what the stage takes; it names the chain's parameter.
        """
        try:
            return self.recipe.bind(
                {
                    name: outer[own] if (own := reference(value)) is not None else value
                    for name, value in self.given.items()
                }
            )
        except ParameterError as error:
            own = reference(self.given.get(error.name))
            if own is None:
                raise
            raise ParameterError(own, f"{own}: {self.recipe.name}'s {error.message}", error.hint) from None


def reference(value: object) -> str | None:
    """Return the name of the parameter that ``$name`` stands for; None where the value is another."""
    return value[1:] if isinstance(value, str) and value.startswith("$") else None


class ParameterError(Exception):
    """A parameter's value is wrong: its name, what is wrong, and what to write instead."""

    def __init__(self, name: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.name, self.message, self.hint = name, message, hint


class ParameterSpec(Section):
    """A parameter as a recipe file declares it."""

    kind: ParameterKind
    default: float | int | bool | str | None = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()


class NativeCall(Section):
    """``package.module:name`` of a function from an attack task to finished chunks, and the norms it has if not all."""

    implementation: str
    norms: tuple[Norm, ...] | None = None


class LibraryCall(Section):
    """A class of an attack library and its arguments; ``$name`` stands for a parameter."""

    class_name: Annotated[str, Field(alias="class")]
    args: dict[str, Any] = Field(default_factory=dict)


class Backends(Section):
    """Who can compute an attack, and for a library how, by norm."""

    native: NativeCall | None = None
    torchattacks: dict[Norm, LibraryCall] | None = None
    art: dict[Norm, LibraryCall] | None = None

    def names(self) -> tuple[str, ...]:
        """The backends that the recipe has, the default first."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def has(self, backend: str, norm: object) -> bool:
        """Whether a backend of the recipe keeps budgets in a norm."""
        if backend == "native":
            return self.native is not None and (self.native.norms is None or norm in self.native.norms)
        return norm in (getattr(self, backend) or {})


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
    parameters = {name: _parameter(located, name, spec) for name, spec in content.params.items()}
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
        chain,
    )


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
                if isinstance(value, str) and value.startswith("$") and value[1:] not in names:
                    path = ("backends", library, norm, "args", argument)
                    raise located.error(f"no parameter '{value[1:]}'", path, did_you_mean(value[1:], names))


def _parameter(located: LocatedYaml, name: str, spec: ParameterSpec) -> Parameter:
    parameter = Parameter(spec.kind, spec.default, spec.min, spec.max, spec.choices)
    if spec.default is None or spec.default == "auto":
        return parameter
    try:
        return replace(parameter, default=parameter.read(spec.default))
    except ValueError as error:
        raise located.error(f"default {error}", ("params", name)) from None


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
def shipped_recipes() -> dict[str, Recipe]:
    """Return every recipe of the catalogue by name."""
    return {name: read_recipe(file) for name, file in shipped_files("attacks").items()}


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
    recipes = shipped_recipes()
    if name in recipes and recipes[name].kind == kind:
        return recipes[name]
    if name in recipes:
        raise UserError(
            f"'{name}' is not an {kind}" if kind == "attack" else f"'{name}' is not a perturbation",
            hint=f"write {recipes[name].kind}: {name}",
        )
    word = "attack" if kind == "attack" else "perturbation"
    raise UserError(
        f"unknown {word} '{name}'",
        hint=did_you_mean(name, [r.name for r in recipes.values() if r.kind == kind]),
    )
