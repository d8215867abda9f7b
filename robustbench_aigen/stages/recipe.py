"""Recipes: named attacks, perturbations and chains of perturbations, their parameters and implementations."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol, Self, cast

from pydantic import BeforeValidator, ConfigDict, Field, SkipValidation, ValidationInfo, model_validator

from robustbench_aigen.documents.document import PartError, Section, show
from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.errors import did_you_mean
from robustbench_aigen.stages.cost import Cost, Work
from robustbench_aigen.stages.masks import MASK
from robustbench_aigen.stages.models import MODEL_FORMS, names_one_place
from robustbench_aigen.stages.parameters import Norm, Parameter, Value

_MASKED = {MASK: Parameter(kind="mask")}
"""The part of the image that a stage may change; everything where it is not given."""
Kind = Literal["attack", "perturb"]
Access = Literal["gradients", "scores", "decisions"]


def _kind(value: object) -> object:
    if value not in ("attack", "perturb"):
        raise ValueError(f"must be 'attack' or 'perturb', not {show(value)}")
    return value


class InMemory(Protocol):
    """The object that computes an attack in memory; a file cannot name such an object."""

    @property
    def name(self) -> str:
        """The name of the attack in tables."""
        ...

    def identity(self) -> str:
        """Return the sha256 of everything that decides the results."""
        ...


def reference(value: object) -> str | None:
    """Return the name of the parameter that ``$name`` stands for; None where the value is another."""
    return value[1:] if isinstance(value, str) and value.startswith("$") else None


class ParameterError(Exception):
    """A parameter's value is wrong: its name, what is wrong, and what to write instead."""

    def __init__(self, name: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.name, self.message, self.hint = name, message, hint


class NativeCall(Section):
    """``package.module:name`` of a function from an attack task to finished chunks, and the norms it has if not all."""

    implementation: str
    norms: tuple[Norm, ...] | None = None


class LibraryCall(Section):
    """A class of an attack library, or a function of adv-lib, and its arguments; ``$name`` stands for a parameter."""

    class_name: Annotated[str, Field(alias="class")]
    args: dict[str, object] = Field(default_factory=dict)

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that its arguments stand for."""
        return frozenset(references(self.args))


def references(value: object) -> Iterator[str]:
    """Yield the parameters that a library's arguments stand for, however deep they lie."""
    if (name := reference(value)) is not None:
        yield name
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from references(each)


LIBRARIES = ("torchattacks", "art", "adv_lib", "foolbox")
"""The backends of attacks that are libraries."""


class Backends(Section):
    """Backends of an attack, with the calls of libraries by norm."""

    native: NativeCall | None = None
    torchattacks: dict[Norm, LibraryCall] | None = None
    art: dict[Norm, LibraryCall] | None = None
    adv_lib: dict[Norm, LibraryCall] | None = None
    foolbox: dict[Norm, LibraryCall] | None = None

    def names(self) -> tuple[str, ...]:
        """The backends that the recipe has, the default first."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def call(self, backend: str, norm: object) -> LibraryCall | None:
        """Return the class and arguments of a library for a norm; None for the native backend."""
        return None if backend == "native" else (getattr(self, backend, None) or {}).get(norm)

    def references(self) -> Iterator[tuple[Path_, str]]:
        """Yield the places where arguments of libraries refer to parameters, and the names of the parameters."""
        for library in LIBRARIES:
            for norm, call in (getattr(self, library) or {}).items():
                for argument, value in call.args.items():
                    for name in references(value):
                        yield (library, norm, "args", argument), name

    def has(self, backend: str, norm: object) -> bool:
        """Whether a backend of the recipe keeps budgets in a norm."""
        if backend == "native":
            return self.native is not None and (self.native.norms is None or norm in self.native.norms)
        return norm in (getattr(self, backend) or {})


class _BaseRecipe(Section):
    """Base class of all recipes.

    Parameters
    ----------
    kind, name, summary, source
        Kind, name, a description in one line, and the paper that describes the method.
    params
        The parameters declared in the recipe file.
    """

    kind: Annotated[Kind, BeforeValidator(_kind)]
    name: str
    summary: str
    source: str = ""
    params: dict[str, Parameter] = Field(default_factory=dict)

    refused: ClassVar[Mapping[str, str]] = {}
    """Keys of other kinds of recipes, each with the reason why this kind lacks the key."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_keys_of_others(cls, content: object) -> object:
        for key, reason in cls.refused.items():
            if isinstance(content, Mapping) and content.get(key):
                raise PartError(reason, (key,))
        return content

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if MASK in self.params:
            raise PartError("every stage has this parameter; choose another name", ("params", MASK))
        return self

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Everything a scenario may set."""
        return self.params

    @property
    def needs_files(self) -> tuple[str, ...]:
        """The parameters that name files of the user: the recipe has no defaults for them, and does not run without."""
        return tuple(
            name for name, each in self.params.items() if each.kind == "model" and each.written is None
        )

    @property
    def recorded(self) -> str | dict[str, str]:
        """The value that identifies the recipe in a record: its name."""
        return self.name

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
                bound[name] = (
                    parameter.read(given[name]) if name in given else parameter.default_in(bound.get("norm"))
                )
            except ValueError as error:
                raise ParameterError(name, f"{name} {error}") from None
        if MASK not in given:
            bound.pop(MASK, None)
        self._complete(bound, given)
        for name, value in bound.items():
            if value is None:
                hint = f"write {name}: {MODEL_FORMS}" if name in self.needs_files else None
                raise ParameterError(name, f"{name} has no default and must be given", hint)
        self._check(bound, given)
        return bound

    def _complete(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        """Set the parameters that follow from others."""

    def _check(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        """Check the parameters together."""


class AttackRecipe(_BaseRecipe):
    """A named attack.

    Parameters
    ----------
    norms
        Norms of the attack's budget.
    backends
        Class and arguments, or an implementation, for each backend.
    access
        The outputs that the attack needs: gradients, scores, or only verdicts.
    minimum_norm
        Whether the attack looks for the smallest perturbation instead of filling the budget. Its result is then moved
        past the boundary, on the 8-bit grid inside eps.
    needs_surrogate
        Whether the attack is crafted on another detector, which the scenario names.
    same_size
        Whether the native version takes images of one size only.
    joint
        Whether the attack finds one perturbation for many images; the result for an image then depends on the others.
    whole
        Whether the attack changes the whole image and cannot be restricted to a mask.
    adapts
        Whether the attack with gradients also attacks detectors without.
    cost
        Work per image; by default ``steps * restarts`` gradients, or as many queries if the attack uses no gradients.
    """

    norms: tuple[Norm, ...] = ()
    backends: Backends = Field(default_factory=Backends)
    access: Access = "gradients"
    minimum_norm: bool = False
    needs_surrogate: bool = False
    same_size: bool = False
    joint: bool = False
    whole: bool = False
    adapts: bool = False
    cost: Cost = Field(default_factory=Cost)

    refused: ClassVar[Mapping[str, str]] = {
        "chain": "an attack has no chain; put perturbations after the attack in a pipeline"
    }

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Everything a scenario may set, ``backend`` and ``norm`` included."""
        backends, norms = self.backends.names(), self.norms
        return {
            "backend": Parameter(kind="choice", default=backends[0], choices=backends),
            "norm": Parameter(kind="choice", default=norms[0], choices=norms),
            **self.params,
            **_MASKED,
        }

    def work(self, params: Mapping[str, Value], draws: int = 1) -> Work:
        """Return the work of the attack per image; see :meth:`Cost.work`."""
        if self.cost.model_fields_set:
            return self.cost.work(params, draws)
        formula = " * ".join(name for name in ("steps", "restarts") if name in self.params) or "1"
        default = Cost(gradients=formula) if self.access == "gradients" else Cost(queries=formula)
        return default.work(params, draws)

    @model_validator(mode="after")
    def _check_declarations(self) -> Self:
        if not self.backends.names() or not self.norms:
            raise PartError("an attack needs 'norms' and at least one of its 'backends'")
        if "eps" not in self.params and set(self.norms) != {"spatial"}:
            raise PartError("an attack needs the parameter 'eps': its budget is checked", ("params",))
        for path, name in self.backends.references():
            if name not in {*self.params, "norm"}:
                hint = did_you_mean(name, {*self.params, "norm"})
                raise PartError(f"no parameter '{name}'", ("backends", *path), hint)
        try:
            self.cost.check(
                name
                for name, parameter in self.params.items()
                if parameter.kind in ("count", "number", "pixels")
            )
        except PartError as error:
            raise error.below("cost") from None
        for name, parameter in self.params.items():
            by_norm, path = parameter.by_norm, ("params", name)
            if name == "eps" and len(self.norms) > 1 and parameter.default is not None and not by_norm:
                message = "default is one length for several norms"
                raise PartError(message, path, "write {linf: 4/255, l2: 0.5}")
            if by_norm and set(by_norm) != set(self.norms):
                norms = ", ".join(self.norms)
                raise PartError(f"default must name every norm of the recipe: {norms}", path)
        return self

    def _complete(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        able = self._able(bound["norm"])
        if "backend" not in given and able:
            bound["backend"] = able[0]

    def _able(self, norm: Value) -> list[str]:
        """Return the backends that keep budgets in a norm."""
        return [name for name in self.backends.names() if self.backends.has(name, norm)]

    def _check_units(self, bound: Mapping[str, Value]) -> None:
        """Refuse L∞ lengths that are not in pixel units, and L0 budgets that are not a whole number."""
        for name in ("eps", "step_size"):
            value = bound.get(name)
            if isinstance(value, float) and bound["norm"] == "linf" and value >= 1:
                message = f"{name} {value:g} is not in pixel units: pixels are in [0, 1]"
                raise ParameterError(name, message, f"write {name}: {value:g}/255")
        eps = bound.get("eps")
        if bound["norm"] == "l0" and isinstance(eps, float) and eps != int(eps):
            raise ParameterError("eps", f"eps must be a whole number of pixel positions in l0, not {eps:g}")

    def _check(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        eps, norm = bound.get("eps"), bound["norm"]
        self._check_units(bound)
        if MASK in bound and self.whole:
            hint = "use a native attack such as pgd, or mask a perturbation"
            raise ParameterError(MASK, f"{self.name} cannot be restricted to a mask", hint)
        if MASK in bound and bound["backend"] != "native":
            hint = (
                "use backend: native" if "native" in self._able(norm) else "use a native attack such as pgd"
            )
            raise ParameterError(
                MASK, f"{self.name} through {bound['backend']} cannot be restricted to a mask", hint
            )
        if (call := self.backends.call(str(bound["backend"]), norm)) is not None:
            # The budget is checked, and tries are repeated, for every class.
            read = {"backend", "norm", "eps", "restarts"} | call.parameters
            for name in sorted(given.keys() - read):
                if bound[name] != self.parameters[name].default_in(norm):
                    raise ParameterError(name, f"{self.name} through {bound['backend']} does not read {name}")
        if bound.get("step_size") == "auto" and isinstance(eps, float):
            # Madry et al. 2018, appendix: 2.5 · eps / steps reaches the boundary from any start inside.
            bound["step_size"] = 2.5 * eps / int(bound["steps"] or 1)
        if bound["backend"] not in self._able(norm):
            raise ParameterError("norm", f"{self.name} through {bound['backend']} has no {norm} version")


class ObjectRecipe(AttackRecipe):
    """An attack that was made from an object in memory, without a recipe file.

    Parameters
    ----------
    made_from
        The object, with its name and identity.
    computed_by
        The only backend: ``function``, ``foolbox``, ``torchattacks`` or ``art``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    made_from: Annotated[InMemory, SkipValidation]
    computed_by: str

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The backend, the norm and the budget; backend and norm have one value each."""
        backend, norm = self.computed_by, self.norms[0]
        return {
            "backend": Parameter(kind="choice", default=backend, choices=(backend,)),
            "norm": Parameter(kind="choice", default=norm, choices=(norm,)),
            **self.params,
        }

    @property
    def recorded(self) -> dict[str, str]:
        """The value that identifies the recipe in a record: name and identity of the object."""
        return {"memory": self.made_from.name, "identity": self.made_from.identity()}

    @model_validator(mode="after")
    def _check_declarations(self) -> Self:
        return self

    def _complete(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        """Set no parameter, because the parameters are independent."""

    def _check(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        del given
        self._check_units(bound)


class _SevereRecipe(_BaseRecipe):
    """Base class of perturbations and chains: severities 1 to 5 set some of the parameters.

    Parameters
    ----------
    severities
        The values of some parameters at severities 1 to 5.
    """

    severities: dict[str, tuple[object, object, object, object, object]] = Field(default_factory=dict)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Everything a scenario may set, including ``severity`` if the recipe has severities."""
        severity = {"severity": Parameter(kind="count", min=1, max=5)} if self.severities else {}
        return {**self.params, **severity, **_MASKED}

    @cached_property
    def at_severities(self) -> Mapping[str, tuple[Value, ...]]:
        """The values of the parameters that severity sets, at severities 1 to 5."""
        return {
            name: tuple(self.params[name].read(value) for value in values)
            for name, values in self.severities.items()
        }

    @model_validator(mode="after")
    def _check_severities(self) -> Self:
        for name, parameter in self.params.items():
            if parameter.by_norm:
                raise PartError("default must be one value: a perturbation has no norms", ("params", name))
        for name, values in self.severities.items():
            path = ("severities", name)
            if name not in self.params:
                hint = did_you_mean(name, self.params)
                raise PartError("is no parameter of this recipe", path, hint)
            for value in values:
                try:
                    self.params[name].read(value)
                except ValueError as error:
                    raise PartError(str(error), path) from None
        return self

    def _complete(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        if "severity" not in given:
            bound.pop("severity", None)
            return
        for name, values in self.at_severities.items():
            if name in given:
                raise ParameterError(name, f"{name} is set by severity; give either severity or {name}")
            bound[name] = values[int(bound["severity"] or 1) - 1]

    def arguments(self, bound: Mapping[str, Value]) -> dict[str, Value]:
        """Return the arguments of the function: bound parameters without ``severity`` and the mask."""
        return {name: value for name, value in bound.items() if name not in ("severity", MASK)}


class PerturbationRecipe(_SevereRecipe):
    """A named perturbation.

    Parameters
    ----------
    implementation
        ``package.module:name`` of its function, ``(levels[, streams], **parameters) → levels``.
    random
        Whether the perturbation draws random numbers.
    differentiable
        ``package.module:name`` of a differentiable approximation, for the gradients of adaptive attacks:
        ``(pixels[, streams], **parameters) → pixels``, float32.
    exif
        ``package.module:name`` of a function ``(levels, **parameters) → bytes``: the EXIF that the perturbation writes into
        the file of an image of 3×H×W uint8, for services behind HTTP and exported sets.
    check
        ``package.module:name`` of a function ``(**parameters)`` that raises UserError before a run whose images it would
        stop, for example because a model cannot be loaded.
    """

    implementation: str = ""
    random: bool = False
    differentiable: str | None = None
    exif: str | None = None
    check: str | None = None
    chain: None = None
    """Always None: only chains have this key; declared so that a misspelt key is distinguished from it."""

    @model_validator(mode="after")
    def _check_implementation(self) -> Self:
        if not self.implementation:
            raise PartError(
                "a perturbation needs 'implementation: package.module:name', or a 'chain' of others"
            )
        return self

    def operations(self, bound: Mapping[str, Value]) -> "tuple[Operation, ...]":
        """Return the operations on an image, in order: only this perturbation."""
        return (Operation(self, bound),)


class ChainRecipe(_SevereRecipe):
    """A named chain of perturbations.

    Parameters
    ----------
    chain
        The perturbations, in their order.
    """

    chain: "list[ChainStage]"

    refused: ClassVar[Mapping[str, str]] = {
        key: f"'{key}' does not go with 'chain': the stages have their own"
        for key in ("implementation", "random", "differentiable", "exif", "check")
    }

    @cached_property
    def random(self) -> bool:
        """Whether a stage draws random numbers."""
        return any(stage.recipe.random for stage in self.chain)

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if not self.chain:
            hint = "- {perturb: jpeg, quality: 75}"
            raise PartError("a chain needs at least one stage", ("chain",), hint)
        used = {reference(value) for stage in self.chain for value in stage.given.values()}
        for name in self.params:
            if name not in used:
                raise PartError(f"no stage of the chain uses '${name}'", ("params", name))
        for position, stage in enumerate(self.chain):
            try:
                stage.check(self.params)
            except PartError as error:
                raise error.below("chain", position) from None
        return self

    def _check(self, bound: dict[str, Value], given: Mapping[str, object]) -> None:
        del given
        for stage in self.chain:
            stage.bind(bound)

    def operations(self, bound: Mapping[str, Value]) -> "tuple[Operation, ...]":
        """Return the operations on an image, in order: those of the chain's stages."""
        return tuple(
            operation for stage in self.chain for operation in stage.recipe.operations(stage.bind(bound))
        )


Recipe = AttackRecipe | PerturbationRecipe | ChainRecipe
"""A recipe of any kind; ``kind`` and ``chain`` decide which."""


def recipe_class(content: object) -> type[Recipe]:
    """Return the class of recipe for the content of a file."""
    keys: Mapping[object, object] = content if isinstance(content, Mapping) else {}
    kind = keys.get("kind")
    if kind == "attack" or (kind is None and ("norms" in keys or "backends" in keys)):
        return AttackRecipe
    return ChainRecipe if keys.get("chain") is not None else PerturbationRecipe


class Operation(NamedTuple):
    """A perturbation with a function of its own, and its parameters."""

    recipe: PerturbationRecipe
    params: Mapping[str, Value]

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the operation computes with: absolute paths of folders, or names of the hub."""
        declared = self.recipe.params
        return tuple(
            str(value)
            for name, value in self.params.items()
            if name in declared and declared[name].kind == "model"
        )


class ChainStage(Section):
    """One perturbation of a chain, in a file ``{perturb: jpeg, quality: $level}``.

    Parameters
    ----------
    recipe
        The perturbation, which may be a chain.
    given
        Values of its parameters in the chain's file; ``$name`` is the value of a parameter of the chain.
    """

    recipe: PerturbationRecipe | ChainRecipe
    given: dict[str, object]

    @model_validator(mode="before")
    @classmethod
    def _find_recipe(cls, content: object, info: ValidationInfo) -> object:
        if not isinstance(content, Mapping) or "recipe" in content:
            return content
        name = content.get("perturb")
        if not isinstance(name, str):
            raise PartError("a stage of a chain is '{perturb: NAME, …}'")
        given = {key: value for key, value in content.items() if key != "perturb"}
        find = cast(Callable[[str], Recipe], info.context)
        return {"recipe": find(name), "given": given}

    def check(self, outer: Mapping[str, Parameter]) -> None:
        """Check the values with the defaults of the chain's parameters.

        Raises
        ------
        PartError
            If a parameter is unknown, or the perturbation does not accept a value.
        """
        if MASK in self.given:
            raise PartError(
                "a stage of a chain has no mask", (MASK,), "give the mask where the chain is used"
            )
        owns = {key: own for key, value in self.given.items() if (own := reference(value)) is not None}
        for key, own in owns.items():
            if own not in outer:
                raise PartError(f"no parameter '{own}'", (key,), did_you_mean(own, outer))
        for key, value in self.given.items():
            parameter = self.recipe.parameters.get(key)
            is_model = parameter is not None and parameter.kind == "model" and key not in owns
            if is_model and not names_one_place(value):
                message = f"the path of a model in a chain must be absolute, not '{value}'"
                raise PartError(message, (key,), f"declare a parameter of kind model, and write ${key}")
        # What has no default is checked when the chain is bound.
        later = {key for key, own in owns.items() if outer[own].default is None}
        known = {
            key: outer[owns[key]].default if key in owns else value
            for key, value in self.given.items()
            if key not in later
        }
        try:
            self.recipe.bind(known)
        except KeyError as error:
            key = str(error.args[0])
            hint = did_you_mean(key, self.recipe.parameters)
            raise PartError(f"{self.recipe.name} has no parameter '{key}'", (key,), hint) from None
        except ParameterError as error:
            if error.name not in later:
                raise PartError(error.message, (error.name,), error.hint) from None

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
