"""A recipe: a named attack or perturbation, its parameters, and who computes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from robustbench_aigen.documents.document import Section
from robustbench_aigen.stages.parameters import Parameter, Value

Kind = Literal["attack", "perturb"]
Norm = Literal["linf", "l2", "l0", "spatial"]
Access = Literal["gradients", "scores", "decisions"]


class InMemory(Protocol):
    """What computes an attack that was made from an object, and that no file can name."""

    @property
    def name(self) -> str:
        """What tables call the attack."""
        ...

    def identity(self) -> str:
        """Return the sha256 of what decides the results."""
        ...


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
    joint
        Whether an attack finds one thing for many images: what it does to one then depends on the others.
    chain
        The perturbations that this one is made of, in their order; empty for one with a function of its own.
    in_memory
        The object that an attack was made from; None for what a name or a file stands for.
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
    joint: bool = False
    chain: tuple["ChainStage", ...] = ()
    in_memory: InMemory | None = None

    @property
    def recorded(self) -> str | dict[str, str]:
        """What stands for the recipe in a record: its name, or name and identity of an object."""
        if self.in_memory is None:
            return self.name
        return {"memory": self.in_memory.name, "identity": self.in_memory.identity()}

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
        eps, norm = bound.get("eps"), bound["norm"]
        for name in ("eps", "step_size"):
            value = bound.get(name)
            if isinstance(value, float) and norm == "linf" and value >= 1:
                message = f"{name} {value:g} is not in pixel units: pixels are in [0, 1]"
                raise ParameterError(name, message, f"write {name}: {value:g}/255")
        if self.in_memory is not None:
            return
        able = [name for name in self.backends.names() if self.backends.has(name, norm)]
        if "backend" not in given and able:
            bound["backend"] = able[0]
        if (call := self.backends.call(str(bound["backend"]), norm)) is not None:
            # The budget is checked, and tries are repeated, whatever the class takes.
            read = {"backend", "norm", "eps", "restarts"} | call.parameters
            for name in sorted(given.keys() - read):
                if bound[name] != self.parameters[name].default_in(norm):
                    raise ParameterError(name, f"{self.name} through {bound['backend']} does not read {name}")
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


class NativeCall(Section):
    """``package.module:name`` of a function from an attack task to finished chunks, and the norms it has if not all."""

    implementation: str
    norms: tuple[Norm, ...] | None = None


class LibraryCall(Section):
    """A class of an attack library and its arguments; ``$name`` stands for a parameter."""

    class_name: Annotated[str, Field(alias="class")]
    args: dict[str, Any] = Field(default_factory=dict)

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


class Backends(Section):
    """Who can compute an attack, and for a library how, by norm."""

    native: NativeCall | None = None
    torchattacks: dict[Norm, LibraryCall] | None = None
    art: dict[Norm, LibraryCall] | None = None

    def names(self) -> tuple[str, ...]:
        """The backends that the recipe has, the default first."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    def call(self, backend: str, norm: object) -> LibraryCall | None:
        """Return how a library is called for a norm; None of the native backend."""
        return None if backend == "native" else (getattr(self, backend, None) or {}).get(norm)

    def has(self, backend: str, norm: object) -> bool:
        """Whether a backend of the recipe keeps budgets in a norm."""
        if backend == "native":
            return self.native is not None and (self.native.norms is None or norm in self.native.norms)
        return norm in (getattr(self, backend) or {})
