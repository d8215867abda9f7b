"""Attacks and perturbations with their parameters: the stages of a pipeline."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self, cast

from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.stages.parameters import Parameter, Value
from robustbench_aigen.stages.recipe import Kind, Norm, ParameterError, Recipe
from robustbench_aigen.stages.recipe_files import find_recipe

StagePath = tuple[str | int, ...]
"""Where a value stands in a stage as it is written: ``("eps", 1)``, ``("through", 0, "quality")``."""
ATTACK_KEYS = ("through", "eot", "surrogate")
"""What may be said of any attack, whatever its recipe."""
_EOT = Parameter("count", 1, 1)


class StageError(UserError, ValueError):
    """A stage is wrong. A ``ValueError`` too, so that pydantic collects it.

    Attributes
    ----------
    path
        Where in the stage as it is written.
    """

    def __init__(self, message: str, path: StagePath = (), hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path

    def below(self, *prefix: str | int) -> "StageError":
        """Return the same error of what stands below a longer path."""
        return StageError(self.message, (*prefix, *self.path), self.hint)

    @classmethod
    def of(cls, error: UserError, *path: str | int) -> "StageError":
        """Return an error of a recipe file as one of the stage that names it."""
        where = (
            "" if error.file is None else f"{error.file}:{error.line}: " if error.line else f"{error.file}: "
        )
        return cls(f"{where}{error.message}", path, error.hint)


@dataclass(frozen=True)
class Stage:
    """A recipe with values for its parameters. Checks itself when made.

    Parameters
    ----------
    recipe
        The attack or perturbation.
    given
        Values of parameters as written; a list of values is a sweep. What is not given has the recipe's default.
    through
        Of an attack: perturbations inside the attacked function.
    eot
        Of an attack: random draws of ``through`` that a gradient is averaged over (Athalye et al. 2018).
    surrogate
        Of an attack: the detector that it is crafted on, where that is not the scored one.

    Raises
    ------
    StageError
        For an unknown parameter, or a value that the recipe does not take.
    """

    recipe: Recipe
    given: Mapping[str, Any] = field(default_factory=dict)
    through: "tuple[Stage, ...]" = ()
    eot: int = 1
    surrogate: object = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", dict(self.given))
        for name, value in self.given.items():
            if name not in self.recipe.parameters:
                raise self._unknown(name)
            if isinstance(value, list | tuple):
                object.__setattr__(self, "given", {**self.given, name: list(value)})
                if not value:
                    raise StageError("the list of values is empty", (name,))
        for values, indices in self._combinations():
            self._bound(values, indices)

    def __repr__(self) -> str:
        words = [f"{name}={value!r}" for name, value in self.given.items()]
        words += [f"through={list(self.through)}"] if self.through else []
        words += [f"eot={self.eot}"] if self.eot != 1 else []
        words += [f"surrogate={described(self.surrogate)!r}"] if self.surrogate is not None else []
        module = "attacks" if self.kind == "attack" else "perturbations"
        return f"{module}.{self.recipe.name}({', '.join(words)})"

    def __hash__(self) -> int:
        return hash(json.dumps([self.recipe.kind, self.recipe.name, self.given, self.eot], default=str))

    @property
    def kind(self) -> Kind:
        """``attack`` or ``perturb``."""
        return self.recipe.kind

    @cached_property
    def own_sweeps(self) -> tuple[str, ...]:
        """Parameters of the stage itself that have several values, in the order in which they are given."""
        return tuple(name for name, value in self.given.items() if isinstance(value, list))

    @property
    def is_swept(self) -> bool:
        """Whether a parameter has several values, here or in a perturbation inside."""
        return bool(self.own_sweeps) or any(inner.own_sweeps for inner in self.through)

    @cached_property
    def params(self) -> dict[str, Value]:
        """The values of all parameters, defaults included.

        Raises
        ------
        UserError
            If one of them is swept: :meth:`expand` returns a stage for each value.
        """
        if self.own_sweeps:
            raise UserError(
                f"{self.recipe.name} has several values of {self.own_sweeps[0]}",
                hint=f"give one value, or call expand() for one {self.recipe.name} for each",
            )
        return self._bound(self.given, {})

    @property
    def norm(self) -> Norm:
        """Norm of an attack's budget."""
        return cast(Norm, self.params["norm"])

    @property
    def eps(self) -> float | None:
        """Budget of an attack, in pixel units; a number of positions for ``l0``, None for ``spatial``."""
        eps = self.params.get("eps")
        return None if eps is None else float(eps)

    @property
    def backend(self) -> str:
        """Who computes an attack: ``native``, ``torchattacks`` or ``art``."""
        return str(self.params["backend"])

    @property
    def arguments(self) -> dict[str, Value]:
        """What the function that computes the stage is called with, beside images and threat model."""
        without = {"backend", "norm", "eps"} if self.kind == "attack" else {"severity"}
        return {name: value for name, value in self.params.items() if name not in without}

    @property
    def is_judged_as_crafted(self) -> bool:
        """Whether success against the attacked function is success: no surrogate, nothing random in between."""
        return self.surrogate is None and not any(stage.recipe.random for stage in self.through)

    def expand(self) -> list["Stage"]:
        """Return a stage for every combination of swept values; the stage itself where nothing is swept."""
        inner = [stage.expand() for stage in self.through]
        return [
            replace(self, given=values, through=tuple(chosen))
            for values, _ in self._combinations()
            for chosen in product(*inner)
        ]

    def with_values(self, **values: Value) -> Self:
        """Return the stage with other values of some parameters; those that it worked out itself stay as they are."""
        call = None if self.kind == "perturb" else self.recipe.backends.call(self.backend, self.norm)
        worked_out = {
            name: self.params[name]
            for name, parameter in self.recipe.parameters.items()
            if parameter.default == "auto" and (call is None or name in call.parameters)
        }
        return replace(self, given={**self.given, **worked_out, **values})

    def to_dict(self) -> dict[str, Any]:
        """Return the stage with all its values, as it stands in ``run.json`` and in the identity of a shard."""
        stage: dict[str, Any] = {self.kind: self.recipe.recorded, **self.params}
        if self.through:
            stage |= {"through": [inner.to_dict() for inner in self.through], "eot": self.eot}
        if self.surrogate is not None:
            stage["surrogate"] = described(self.surrogate)
        return stage

    @staticmethod
    def from_dict(stage: Mapping[str, Any], folder: str | Path = ".") -> "Stage":
        """Read a stage as it is written in a scenario; paths of recipe files start at ``folder``."""
        return stage_from_dict(stage, folder)

    def written(self) -> dict[str, Any]:
        """Return the stage as a scenario would have it: what was given, sweeps included."""
        stage: dict[str, Any] = {self.kind: self.recipe.recorded, **self.given}
        if self.through:
            stage["through"] = [inner.written() for inner in self.through]
        if self.eot != 1:
            stage["eot"] = self.eot
        if self.surrogate is not None:
            stage["surrogate"] = described(self.surrogate)
        return stage

    def _combinations(self) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
        """Yield one value for each parameter, and of swept ones its place in their list."""
        swept = self.own_sweeps
        for chosen in product(*(range(len(self.given[name])) for name in swept)):
            indices = dict(zip(swept, chosen, strict=True))
            yield (
                {
                    name: value[indices[name]] if name in indices else value
                    for name, value in self.given.items()
                },
                indices,
            )

    def _bound(self, values: Mapping[str, Any], indices: Mapping[str, int]) -> dict[str, Value]:
        try:
            return self.recipe.bind(values)
        except ParameterError as error:
            name = error.name
            path: StagePath = (name, indices[name]) if name in indices else (name,)
            raise StageError(error.message, path, error.hint) from None

    def _unknown(self, name: str) -> StageError:
        known = [*self.recipe.parameters, *(ATTACK_KEYS if self.kind == "attack" else ())]
        return StageError(f"{self.recipe.name} has no parameter '{name}'", (name,), did_you_mean(name, known))


def described(surrogate: Any) -> object:
    """Return a surrogate as plain values: its id, what a scenario says of it, or the name of one in memory."""
    if isinstance(surrogate, str | Mapping):
        return surrogate
    if not hasattr(surrogate, "model_dump"):
        return {"memory": surrogate.name, "identity": surrogate.identity()}
    said = surrogate.model_dump(exclude_none=True, mode="json")
    return said["id"] if said.keys() == {"id"} else said


class Perturbation(Stage):
    """A perturbation: what anybody may do to an image, compression or resizing for example."""

    def __call__(self, images: Any, *, seed: int = 42, ids: Sequence[str] | None = None) -> Any:
        """Perturb images. Out comes what went in: a tensor, a PIL image, a list.

        Parameters
        ----------
        images
            A tensor N×3×H×W (float in [0, 1] or uint8), a list of 3×H×W tensors, PIL images or paths, or one of these.
        seed
            Of perturbations that draw random numbers.
        ids
            What the random numbers of each image are keyed by; without, the sha256 of the image.

        Raises
        ------
        UserError
            If the images are none of these, or a parameter has several values.
        """
        from robustbench_aigen.engine.calling import call_perturbation

        return call_perturbation(self, images, seed=seed, ids=ids)

    def differentiable(self, pixels: Any, *, seed: int = 42, ids: Sequence[str] | None = None) -> Any:
        """Return the differentiable stand-in of the perturbation on N×3×H×W float pixels in [0, 1].

        Raises
        ------
        UserError
            If the recipe has none.
        """
        from robustbench_aigen.engine.calling import call_differentiable

        return call_differentiable(self, pixels, seed=seed, ids=ids)


class Attack(Stage):
    """An attack: a search for a small change that turns the verdict of a detector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            eot = int(_EOT.read(self.eot) or 1)
        except ValueError as error:
            raise StageError(f"eot {error}", ("eot",)) from None
        object.__setattr__(self, "eot", eot)
        if eot > 1 and not any(inner.recipe.random for inner in self.through):
            raise StageError("eot averages over random perturbations, and 'through' has none", ("eot",))
        backends = self.given.get("backend") or self.recipe.parameters["backend"].default
        if eot > 1 and set(backends if isinstance(backends, list) else [backends]) != {"native"}:
            raise StageError("eot averages the gradients of the native backend alone", ("eot",))
        surrogate = self.surrogate
        is_named = isinstance(surrogate, str | Mapping) or hasattr(surrogate, "model_dump")
        if surrogate is not None and not is_named and not hasattr(surrogate, "identity"):
            raise StageError(
                f"the surrogate is a {type(surrogate).__name__}",
                ("surrogate",),
                "surrogate=Detector(module), or an id",
            )
        if surrogate is None and self.recipe.needs_surrogate:
            raise StageError(
                f"{self.recipe.name} needs the detector it is crafted on", (), "surrogate: minigen/lenet5"
            )

    def __call__(
        self,
        detector: Any,
        images: Any,
        labels: Any,
        *,
        threshold: Any = None,
        early_stop: bool = False,
        seed: int = 42,
        ids: Sequence[str] | None = None,
        batch_size: int | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> Any:
        """Attack images and return an :class:`robustbench_aigen.AttackResult`.

        Parameters
        ----------
        detector
            A ``Detector``, or an ``nn.Module`` that takes pixels in [0, 1] and whose output 1 is fake. It is left as it
            was: mode, gradient flags, weights.
        images
            A tensor N×3×H×W (float in [0, 1] or uint8), or a list of 3×H×W tensors, PIL images or paths. Floats are
            rounded to 8 bits first.
        labels
            N labels: 0 or "real", 1 or "fake".
        threshold
            From which score on an image is called fake; the detector's own by default.
        early_stop
            Whether an image is finished once its verdict is wrong. Otherwise every image gets every step.
        seed
            Of everything that is random.
        ids
            What the random numbers of each image are keyed by; without, the sha256 of the image, so that results do not
            depend on the batch.
        batch_size
            Images computed together; by default what fits the detector's input.
        precision
            Of gradients: ``auto``, ``fp32`` or ``bf16``. Verdicts are in float32.

        Raises
        ------
        UserError
            If a parameter of the attack has several values, the detector has no gradients and the attack needs them, or
            images or labels are none.
        """
        from robustbench_aigen.engine.calling import call_attack

        return call_attack(
            self, detector, images, labels, threshold=threshold, early_stop=early_stop, seed=seed, ids=ids,
            batch_size=batch_size, precision=precision,
        )  # fmt: skip


def make_stage(recipe: Recipe, given: Mapping[str, Any], **attack: Any) -> Stage:
    """Return the attack or the perturbation of a recipe; ``attack`` are the other parameters of :class:`Attack`."""
    return Attack(recipe, given, **attack) if recipe.kind == "attack" else Perturbation(recipe, given)


def _as_read(surrogate: object) -> object:
    return surrogate


def stage_from_dict(
    stage: Mapping[str, Any],
    folder: str | Path = ".",
    read_surrogate: Callable[[object], object] = _as_read,
    only: Kind | None = None,
) -> Stage:
    """Read a stage as it is written: ``{attack: pgd, eps: 4/255}``.

    Parameters
    ----------
    stage
        The attack or perturbation by the name of its recipe, and its parameters.
    folder
        Where the paths of recipe files start.
    read_surrogate
        Makes the detector that an attack is crafted on of what is written.
    only
        The kind that it must be of.

    Raises
    ------
    StageError
        For anything that is wrong, with its path in the stage.
    """
    recipe = _recipe_of(stage, Path(folder), only)
    if recipe.kind == "perturb":
        for name in ATTACK_KEYS:
            if name in stage:
                raise StageError(f"only an attack has '{name}'", (name,))
    given = {name: value for name, value in stage.items() if name not in {recipe.kind, *ATTACK_KEYS}}
    if recipe.kind == "perturb":
        return Perturbation(recipe, given)
    through = []
    for position, inner in enumerate(_inside(stage)):
        try:
            through.append(stage_from_dict(inner, folder, only="perturb"))
        except StageError as error:
            raise error.below("through", position) from None
    surrogate = read_surrogate(stage["surrogate"]) if "surrogate" in stage else None
    return Attack(recipe, given, tuple(through), stage.get("eot", 1), surrogate)


def _inside(stage: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what stands inside the attacked function."""
    inner = stage.get("through", [])
    is_list = isinstance(inner, list | tuple) and all(isinstance(each, Mapping) for each in inner)
    if "through" in stage and not (inner and is_list):
        raise StageError("must be a list of perturbations, - {perturb: jpeg, quality: 75}", ("through",))
    return inner


def _recipe_of(stage: Mapping[str, Any], folder: Path, only: Kind | None) -> Recipe:
    kinds: list[Kind] = [kind for kind in ("attack", "perturb") if kind in stage]
    if len(kinds) != 1:
        near = [] if kinds else [did_you_mean(str(key), ("attack", "perturb")) for key in stage]
        hint = next((said for said in near if said.startswith("did you mean")), None)
        raise StageError("a stage is either '{attack: NAME, …}' or '{perturb: NAME, …}'", (), hint)
    kind = kinds[0]
    if only not in {None, kind}:
        raise StageError("only perturbations stand inside the attacked function", (kind,))
    if isinstance(stage[kind], Mapping) and "memory" in stage[kind]:
        message = f"the attack '{stage[kind]['memory']}' was made from an object, which no scenario can name"
        raise StageError(message, (kind,), "evaluate(detector, data, pipelines) takes it")
    if not isinstance(stage[kind], str):
        raise StageError("must be the name of one recipe", (kind,), "use a pipeline for each attack")
    try:
        return find_recipe(kind, stage[kind], folder)
    except UserError as error:
        raise StageError.of(error, kind) from None
