"""Training recipes: keys, validation, and the shipped recipes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from robustbench_aigen.detectors.zoo import architecture_names, architecture_options, default_input_size
from robustbench_aigen.documents.document import Section, show, validated
from robustbench_aigen.documents.located_yaml import read_yaml
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.scenario.detector_spec import Sides, read_positive_triple, read_triple
from robustbench_aigen.scenario.scenario import Count, Name, ThresholdRule, Whole
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.training.augmentation import Augmentation, read_augmentation

_RECIPES = Path(__file__).parent / "recipes"


def _amount(value: object) -> float:
    number = read_fraction(value)
    if number is None or number < 0:
        raise ValueError(f"must be a number that is not negative, not {show(value)}")
    return number


def _rate(value: object) -> float:
    number = read_fraction(value)
    if number is None or number <= 0:
        raise ValueError(f"must be a number greater than 0, not {show(value)}")
    return number


def _share(value: object) -> float:
    number = read_fraction(value)
    if number is None or not 0 < number < 1:
        raise ValueError(f"must be a share between 0 and 1, not {show(value)}")
    return number


Amount = Annotated[float, BeforeValidator(_amount)]
Rate = Annotated[float, BeforeValidator(_rate)]
Triple = Annotated[tuple[float, float, float], BeforeValidator(read_triple)]
PositiveTriple = Annotated[tuple[float, float, float], BeforeValidator(read_positive_triple)]
Share = Annotated[float, BeforeValidator(_share)]
Step = Annotated[Augmentation, BeforeValidator(read_augmentation), PlainSerializer(str)]
Balance = bool | Literal["generators"]


def _grid(value: object) -> object:
    numbers = {}
    for key, items in value.items() if isinstance(value, dict) else ():
        numbers[str(key)] = [_rate(item) for item in (items if isinstance(items, list) else [items])]
    if not numbers or not all(numbers.values()):
        raise ValueError(
            f"must be hyper-parameters with their values, {{c: [0.1, 1, 10]}}, not {show(value)}"
        )
    return numbers


def _penalties(value: object) -> object:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("must be one value or several, [0.01, 0.1, 1]")
    return [_rate(each) for each in values]


class SvmSettings(Section):
    """Settings of the fit of a support vector machine.

    ``grid`` holds the values of each hyper-parameter; where there is more than one combination, the one with the
    highest mean accuracy in ``folds``-fold cross-validation on the training images is taken.
    """

    grid: Annotated[dict[str, list[float]], BeforeValidator(_grid)]
    folds: Annotated[int, Field(strict=True, ge=2)] = 5


class ProbeSettings(Section):
    """Settings of the fit of a linear probe.

    ``c`` holds values of the inverse L2 penalty; the value with the best validation figure (``select``) is taken.
    """

    c: Annotated[list[float], BeforeValidator(_penalties)]


class Settings(Section):
    """The settings of a recipe that determine the weights.

    Parameters
    ----------
    arch, arch_options
        The architecture and what its ``build`` is given.
    input_size
        Height and width; the architecture's own where None.
    mean, std
        Normalisation per channel, in pixel units.
    epochs, batch_size
        The last batch of an epoch is left out where it is not full.
    optimizer, learning_rate, weight_decay, momentum
        ``momentum`` is SGD's and RMSprop's. ``learning_rate`` is the highest of the schedule.
    schedule
        ``constant``; ``cosine`` to zero; ``one_cycle`` (Smith and Topin 2018): up for 30 % of the steps, then
        down to zero.
    early_stopping
        Epochs without gain on validation after which training stops; None trains all of them.
    select
        By which validation figure the epoch that is kept is chosen.
    label_smoothing
        Label smoothing of the cross-entropy.
    augmentation
        Applied in this order.
    balance
        Whether an epoch has as many images of one class as of the other, drawn again each time from the larger; the
        figures of validation are then means over the two classes. ``generators``: and, within a class, as many images
        of each generator, so that a large source does not outweigh a small one.
    validation
        The share of the training split that is held out where the source has no validation split.
    threshold
        Number, or the rule by which it is fitted on validation.
    precision
        Precision of the training passes: ``auto`` is bf16 if the hardware supports bf16.
    seed
        Seed of initial weights, order and augmentations.
    svm
        How a network of the zoo is fitted that is a support vector machine on features. Of the others it then
        reads the architecture's, ``validation``, ``threshold`` and ``seed`` alone.
    probe
        How a network of the zoo is fitted that is a linear probe on features. Of the others it then reads the
        architecture's, ``batch_size``, ``balance`` (as weights of the images), ``select``, ``validation``,
        ``threshold`` and ``seed`` alone.
    """

    arch: str
    arch_options: dict[str, Any] = Field(default_factory=dict)
    input_size: Sides = None
    mean: Triple = (0.5, 0.5, 0.5)
    std: PositiveTriple = (0.5, 0.5, 0.5)
    epochs: Count = 20
    batch_size: Count = 64
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Rate = 1e-3
    weight_decay: Amount = 0.0
    momentum: Amount = 0.9
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    early_stopping: Count | None = None
    select: Literal["loss", "accuracy"] = "loss"
    label_smoothing: Amount = 0.0
    augmentation: list[Step] = Field(default_factory=list)
    balance: Balance = False
    validation: Share = 0.1
    threshold: ThresholdRule = "youden"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Whole = 42
    svm: SvmSettings | None = None
    probe: ProbeSettings | None = None

    @model_validator(mode="after")
    def _network_fits_its_images(self) -> Self:
        if not self._has_sized_layers:
            return self
        height, width = self.input_size or default_input_size(self.arch) or (0, 0)
        if height != width:
            raise ValueError(f"'{self.arch}' takes square images, not input_size: [{height}, {width}]")
        if self.arch_options.get("input_size", height) != height:
            raise ValueError(
                f"arch_options declares a network for {self.arch_options['input_size']} pixels and the images have {height}: "
                "write only input_size"
            )
        return self

    @property
    def _has_sized_layers(self) -> bool:
        return self.arch in architecture_names() and "input_size" in architecture_options(self.arch)

    @property
    def network_options(self) -> dict[str, Any]:
        """Options for building the network: ``arch_options``, and the image size if layers depend on it."""
        if self.input_size is None or not self._has_sized_layers:
            return self.arch_options
        return {**self.arch_options, "input_size": self.input_size[0]}

    @property
    def untrained_options(self) -> dict[str, Any]:
        """The options without ``weights``, which trained weights replace."""
        return {key: value for key, value in self.network_options.items() if key != "weights"}

    def identity(self) -> dict[str, Any]:
        """Return the identity of a training; ``svm`` and ``probe`` are left out for other networks."""
        unused = {name for name in ("svm", "probe") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=unused)


class TrainingRecipe(Settings):
    """A whole recipe file, version 1.

    ``published`` holds the study's own values of the keys in which the recipe departs from it, and ``reason`` says
    why it does; ``robust-aigen train --published`` takes them.
    """

    version: Literal[1]
    name: Name
    summary: str = ""
    study: str = ""
    published: dict[str, Any] = Field(default_factory=dict)
    reason: str = ""

    @property
    def settings(self) -> Settings:
        """The settings that determine the weights."""
        return Settings.model_validate(self.model_dump(include=set(Settings.model_fields)))

    def overridden(self, changes: Mapping[str, object], option: str = "--set") -> "TrainingRecipe":
        """Return the recipe with some keys replaced.

        Raises
        ------
        UserError
            If a key is unknown or a value is not one that the file could have.
        """
        for key in changes:
            if key not in TrainingRecipe.model_fields or key in {"version", "published", "reason"}:
                hint = did_you_mean(key, Settings.model_fields)
                raise UserError(f"a recipe has no key '{key}'", file=option, hint=hint)
        return self.replaced(changes, Path(option))

    def as_published(self) -> "TrainingRecipe":
        """Return the recipe with the study's own values."""
        return self.replaced(self.published, Path("published"))


def shipped_recipes() -> dict[str, Path]:
    """Map the name of every shipped training recipe to its file, sorted."""
    return {file.stem: file for file in sorted(_RECIPES.glob("*.yaml"))}


def load_recipe(name: str | Path) -> TrainingRecipe:
    """Read and validate a training recipe.

    Parameters
    ----------
    name
        Path of a YAML file, or the name of a shipped recipe (``cifake_cnn``).

    Raises
    ------
    UserError
        With file, line, key and what to do.
    """
    path, shipped = Path(name), shipped_recipes()
    try:
        is_file = path.is_file()
    except OSError as error:
        raise UserError(f"recipe '{shortened(str(name))}' cannot be opened: {error.strerror}") from error
    if not is_file:
        if str(name) not in shipped:
            hint = f"give a YAML file or a shipped recipe; {did_you_mean(path.stem, shipped)}"
            raise UserError(f"no training recipe '{shortened(str(name))}'", hint=hint)
        path = shipped[str(name)]
    located = read_yaml(path)
    loaded = validated(TrainingRecipe, located, "a training recipe")
    for key in loaded.published:
        if key not in Settings.model_fields:
            raise located.error(
                f"a recipe has no key '{key}'", ("published", key), did_you_mean(key, Settings.model_fields)
            )
    return loaded
