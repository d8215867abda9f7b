"""Attacks and perturbations with their parameters: the stages of a pipeline."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, cast, overload

from pydantic import BaseModel

from robustbench_aigen.documents.document import PartError
from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.errors import Source, UserError, did_you_mean
from robustbench_aigen.stages.masks import MASK, read_mask, starting_at
from robustbench_aigen.stages.models import model_starting_at
from robustbench_aigen.stages.parameters import Norm, Parameter, Value
from robustbench_aigen.stages.recipe import (
    AttackRecipe,
    ChainRecipe,
    Kind,
    Operation,
    ParameterError,
    PerturbationRecipe,
    Recipe,
)
from robustbench_aigen.stages.recipe_files import find_recipe

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.thresholds import Threshold
    from robustbench_aigen.engine.calling import AttackResult
    from robustbench_aigen.numerics.images_like import ImagesLike, LabelsLike

ATTACK_KEYS = ("through", "eot", "surrogate")
"""Keys that every attack has, with any recipe."""
Given = Mapping[str, object]
"""Values of parameters as written; a list of values is a sweep."""
_EOT = Parameter(kind="count", default=1, min=1)


@dataclass(frozen=True)
class Stage:
    """A recipe with values for its parameters, checked when the stage is made.

    Parameters
    ----------
    recipe
        The attack or perturbation.
    given
        Values of parameters as written; a list of values is a sweep. Other parameters have the recipe's defaults.
    through
        For attacks: perturbations inside the attacked function.
    eot
        For attacks: random draws of ``through`` that a gradient is averaged over (Athalye et al. 2018).
    surrogate
        For attacks: the detector that the attack is crafted on, if not the scored detector.
    source
        The place in the scenario, for messages.

    Raises
    ------
    PartError
        For an unknown parameter, or a value that the recipe does not accept.
    """

    recipe: Recipe
    given: Given = field(default_factory=dict)
    through: "tuple[Perturbation, ...]" = ()
    eot: int = 1
    surrogate: object = None
    source: Source | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", dict(self.given))
        for name, value in self.given.items():
            if name not in self.recipe.parameters:
                raise self._unknown(name)
            if isinstance(value, list | tuple):
                object.__setattr__(self, "given", {**self.given, name: list(value)})
                if not value:
                    raise PartError("the list of values is empty", (name,))
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
        """Backend of an attack: ``native`` or the name of a library."""
        return str(self.params["backend"])

    @property
    def measures_distance(self) -> bool:
        """Whether an attack looks for the smallest perturbation, in a norm that has lengths."""
        return isinstance(self.recipe, AttackRecipe) and self.recipe.minimum_norm and self.norm != "spatial"

    @property
    def mask(self) -> str | None:
        """The part of the image that the stage may change, as written; None for everything."""
        mask = self.params.get(MASK)
        return None if mask is None else str(mask)

    @property
    def draws(self) -> bool:
        """Whether a perturbation draws random numbers: its own, or the place of its mask."""
        is_random = not isinstance(self.recipe, AttackRecipe) and self.recipe.random
        return is_random or (self.mask is not None and read_mask(self.mask).is_drawn)

    @property
    def arguments(self) -> dict[str, Value]:
        """Arguments of the function of the stage, besides images and threat model."""
        without = {"backend", "norm", "eps", MASK} if isinstance(self, Attack) else {"severity", MASK}
        return {name: value for name, value in self.params.items() if name not in without}

    @property
    def is_judged_as_crafted(self) -> bool:
        """Whether success against the attacked function is success: no surrogate, nothing random in between."""
        return self.surrogate is None and not any(stage.recipe.random for stage in self.through)

    def expand(self) -> list[Self]:
        """Return a stage for every combination of swept values; the stage itself where nothing is swept."""
        inner = [stage.expand() for stage in self.through]
        return [
            replace(self, given=values, through=tuple(chosen))
            for values, _ in self._combinations()
            for chosen in product(*inner)
        ]

    def with_values(self, **values: Value) -> Self:
        """Return the stage with other values of some parameters; those that it worked out itself stay as they are."""
        call = self.recipe.backends.call(self.backend, self.norm) if isinstance(self, Attack) else None
        worked_out = {
            name: self.params[name]
            for name, parameter in self.recipe.parameters.items()
            if parameter.default == "auto" and (call is None or name in call.parameters)
        }
        return replace(self, given={**self.given, **worked_out, **values})

    def to_dict(self) -> dict[str, Any]:
        """Return the stage with all its values, for ``run.json`` and for the identity of a shard."""
        stage: dict[str, Any] = {self.kind: self.recipe.recorded, **self.params}
        if self.through:
            stage |= {"through": [inner.to_dict() for inner in self.through], "eot": self.eot}
        if self.surrogate is not None:
            stage["surrogate"] = described(self.surrogate)
        return stage

    @staticmethod
    def from_dict(stage: Given, folder: str | Path = ".") -> "Stage":
        """Read a stage as it is written in a scenario; paths of recipe files start at ``folder``."""
        return stage_from_dict(stage, folder)

    def written(self) -> dict[str, object]:
        """Return the stage as a scenario would have it: what was given, sweeps included."""
        stage: dict[str, object] = {self.kind: self.recipe.recorded, **self.given}
        if self.through:
            stage["through"] = [inner.written() for inner in self.through]
        if self.eot != 1:
            stage["eot"] = self.eot
        if self.surrogate is not None:
            stage["surrogate"] = described(self.surrogate)
        return stage

    def values_of(self, name: str) -> list[object]:
        """Return the values of a given parameter: all values of a sweep, or a single value."""
        value = self.given[name]
        return value if isinstance(value, list) else [value]

    def _combinations(self) -> Iterator[tuple[dict[str, object], dict[str, int]]]:
        """Yield one value for each parameter, and of swept ones its place in their list."""
        swept = self.own_sweeps
        for chosen in product(*(range(len(self.values_of(name))) for name in swept)):
            indices = dict(zip(swept, chosen, strict=True))
            yield {name: self.values_of(name)[indices.get(name, 0)] for name in self.given}, indices

    def _bound(self, values: Given, indices: Mapping[str, int]) -> dict[str, Value]:
        try:
            return self.recipe.bind(values)
        except ParameterError as error:
            name = error.name
            path: Path_ = (name, indices[name]) if name in indices else (name,)
            raise PartError(error.message, path, error.hint) from None

    def _unknown(self, name: str) -> PartError:
        known = [*self.recipe.parameters, *(ATTACK_KEYS if self.kind == "attack" else ())]
        return PartError(f"{self.recipe.name} has no parameter '{name}'", (name,), did_you_mean(name, known))


class SurrogateInMemory(Protocol):
    """A detector in memory that attacks are crafted on."""

    name: str

    def identity(self) -> str:
        """Return a value that identifies the detector."""
        ...


def described(surrogate: object) -> object:
    """Return a surrogate as plain values: its id, its keys in a scenario, or the name of a detector in memory."""
    if isinstance(surrogate, str | Mapping):
        return surrogate
    if not isinstance(surrogate, BaseModel):
        if not hasattr(surrogate, "identity"):  # A module, before a run makes a detector of it.
            return {"memory": type(surrogate).__name__}
        held = cast(SurrogateInMemory, surrogate)
        return {"memory": held.name, "identity": held.identity()}
    said = surrogate.model_dump(exclude_none=True, mode="json")
    return said["id"] if said.keys() == {"id"} else said


class Perturbation(Stage):
    """A perturbation: image processing such as compression or resizing."""

    recipe: PerturbationRecipe | ChainRecipe

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations on an image, in order: this perturbation, or the stages of a chain."""
        return self.recipe.operations(self.params)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the operations compute with: absolute paths of folders, or names of the hub."""
        return tuple(model for operation in self.operations for model in operation.models)

    @property
    def writes_exif(self) -> bool:
        """Whether one of the operations writes EXIF into the file of an image."""
        return any(operation.recipe.exif is not None for operation in self.operations)

    @overload
    def __call__(self, images: "Tensor", *, seed: int = 42, ids: Sequence[str] | None = None) -> "Tensor": ...
    @overload
    def __call__(self, images: "Image", *, seed: int = 42, ids: Sequence[str] | None = None) -> "Image": ...
    @overload
    def __call__(
        self, images: "ImagesLike", *, seed: int = 42, ids: Sequence[str] | None = None
    ) -> "Tensor | Image | list[Tensor | Image]": ...
    def __call__(
        self, images: "ImagesLike", *, seed: int = 42, ids: Sequence[str] | None = None
    ) -> "Tensor | Image | list[Tensor | Image]":
        """Perturb images. Out comes what went in: a tensor, a PIL image, a list.

        Parameters
        ----------
        images
            A tensor N×3×H×W (float in [0, 1] or uint8), a list of 3×H×W tensors, PIL images or paths, or one of these.
        seed
            Seed of perturbations that draw random numbers.
        ids
            Keys of the random numbers of each image; by default the sha256 of the image.

        Raises
        ------
        UserError
            If the images have another type, or a parameter has several values.
        """
        from robustbench_aigen.engine.calling import call_perturbation

        return call_perturbation(self, images, seed=seed, ids=ids)

    def differentiable(
        self, pixels: "Tensor", *, seed: int = 42, ids: Sequence[str] | None = None
    ) -> "Tensor":
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

    recipe: AttackRecipe

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            eot = int(_EOT.read(self.eot) or 1)
        except ValueError as error:
            raise PartError(f"eot {error}", ("eot",)) from None
        object.__setattr__(self, "eot", eot)
        if eot > 1 and not any(inner.recipe.random for inner in self.through):
            raise PartError("eot averages over random perturbations, and 'through' has none", ("eot",))
        backends = self.given.get("backend") or self.recipe.parameters["backend"].default
        if eot > 1 and set(backends if isinstance(backends, list) else [backends]) != {"native"}:
            raise PartError("eot needs the native backend", ("eot",))
        surrogate = self.surrogate
        is_named = surrogate is None or isinstance(surrogate, str | Mapping | BaseModel)
        if not is_named and (isinstance(surrogate, Stage) or not callable(surrogate)):
            raise PartError(
                f"the surrogate is a {type(surrogate).__name__}",
                ("surrogate",),
                "surrogate=Detector(module), or an id",
            )
        if surrogate is None and self.recipe.needs_surrogate:
            raise PartError(
                f"{self.recipe.name} needs a surrogate", (), "add a detector: surrogate: minigen/lenet5"
            )

    def __call__(
        self,
        detector: "Detector | nn.Module",
        images: "ImagesLike",
        labels: "LabelsLike",
        *,
        threshold: "float | Threshold | None" = None,
        early_stop: bool = False,
        seed: int = 42,
        ids: Sequence[str] | None = None,
        batch_size: int | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> "AttackResult":
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
            The score from which on an image is called fake; by default the detector's own threshold.
        early_stop
            Whether an image is finished once its verdict is wrong. Otherwise every image gets every step.
        seed
            Seed of all random numbers.
        ids
            What the random numbers of each image are keyed by; without, the sha256 of the image, so that results do not
            depend on the batch.
        batch_size
            Images computed together; by default what fits the detector's input.
        precision
            Precision of gradients: ``auto``, ``fp32`` or ``bf16``. Verdicts are in float32.

        Raises
        ------
        UserError
            If a parameter of the attack has several values, the detector has no gradients and the attack needs them, or
            images or labels are invalid.
        """
        from robustbench_aigen.engine.calling import call_attack

        return call_attack(
            self, detector, images, labels, threshold=threshold, early_stop=early_stop, seed=seed, ids=ids,
            batch_size=batch_size, precision=precision,
        )  # fmt: skip


@overload
def make_stage(
    recipe: AttackRecipe,
    given: Given,
    through: Sequence[Perturbation] = ...,
    eot: int = ...,
    surrogate: object = ...,
) -> Attack: ...
@overload
def make_stage(recipe: PerturbationRecipe | ChainRecipe, given: Given) -> Perturbation: ...
@overload
def make_stage(
    recipe: Recipe,
    given: Given,
    through: Sequence[Perturbation] = ...,
    eot: int = ...,
    surrogate: object = ...,
) -> Stage: ...
def make_stage(
    recipe: Recipe,
    given: Given,
    through: Sequence[Perturbation] = (),
    eot: int = 1,
    surrogate: object = None,
) -> Stage:
    """Return the attack or the perturbation of a recipe; only attacks have the last three parameters."""
    if isinstance(recipe, AttackRecipe):
        return Attack(recipe, given, tuple(through), eot, surrogate)
    return Perturbation(recipe, given)


def _as_read(surrogate: object) -> object:
    return surrogate


def stage_from_dict(
    stage: Given,
    folder: str | Path = ".",
    read_surrogate: Callable[[object], object] = _as_read,
    only: Kind | None = None,
) -> Stage:
    """Return the stage for a mapping as in a scenario: ``{attack: pgd, eps: 4/255}``.

    Parameters
    ----------
    stage
        The attack or perturbation by the name of its recipe, and its parameters.
    folder
        The folder that the paths of recipe files start at.
    read_surrogate
        Makes the surrogate from its declaration.
    only
        The required kind of stage.

    Raises
    ------
    PartError
        For any error, with its path in the stage.
    """
    recipe = _recipe_of(stage, Path(folder), only)
    given = {name: value for name, value in stage.items() if name not in {recipe.kind, *ATTACK_KEYS}}
    if MASK in given:
        given[MASK] = starting_at(given[MASK], Path(folder))
    for name, parameter in recipe.parameters.items():
        if parameter.kind == "model" and name in given:
            given[name] = model_starting_at(given[name], Path(folder))
    if not isinstance(recipe, AttackRecipe):
        for name in ATTACK_KEYS:
            if name in stage:
                raise PartError(f"only an attack has '{name}'", (name,))
        return Perturbation(recipe, given)
    through = []
    for position, inner in enumerate(_inside(stage)):
        try:
            through.append(perturbation_from_dict(inner, folder))
        except PartError as error:
            raise error.below("through", position) from None
    surrogate = read_surrogate(stage["surrogate"]) if "surrogate" in stage else None
    return Attack(recipe, given, tuple(through), cast(int, stage.get("eot", 1)), surrogate)


def perturbation_from_dict(stage: Given, folder: str | Path = ".") -> Perturbation:
    """Return a perturbation inside the attacked function; see :func:`stage_from_dict`."""
    made = stage_from_dict(stage, folder, only="perturb")
    assert isinstance(made, Perturbation)
    return made


def _inside(stage: Given) -> Sequence[Given]:
    """Return the perturbations inside the attacked function."""
    inner = stage.get("through", [])
    is_list = isinstance(inner, list | tuple) and all(isinstance(each, Mapping) for each in inner)
    if "through" in stage and not (inner and is_list):
        raise PartError("must be a list of perturbations, - {perturb: jpeg, quality: 75}", ("through",))
    return cast(Sequence[Given], inner)


def _recipe_of(stage: Given, folder: Path, only: Kind | None) -> Recipe:
    kinds: list[Kind] = [kind for kind in ("attack", "perturb") if kind in stage]
    if len(kinds) != 1:
        near = [] if kinds else [did_you_mean(str(key), ("attack", "perturb")) for key in stage]
        hint = next((said for said in near if said.startswith("did you mean")), None)
        raise PartError("a stage is either '{attack: NAME, …}' or '{perturb: NAME, …}'", (), hint)
    kind, name = kinds[0], stage[kinds[0]]
    if only not in {None, kind}:
        raise PartError("'through' takes only perturbations", (kind,))
    if isinstance(name, Mapping) and "memory" in name:
        message = f"the attack '{name['memory']}' was made from an object, which a scenario cannot name"
        raise PartError(message, (kind,), "use evaluate(detector, data, pipelines)")
    if not isinstance(name, str):
        raise PartError("must be the name of one recipe", (kind,), "use a pipeline for each attack")
    try:
        return find_recipe(kind, name, folder)
    except UserError as error:
        raise PartError.of(error, kind) from None
