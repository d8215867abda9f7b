"""The fine-tuning file: keys, validation and error messages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.documents.document import Document, Section, show, validated
from robustbench_aigen.documents.located_yaml import read_yaml
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Count, Name, Whole, is_fine_tuning
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.training.recipe import Amount, Balance, Rate, Share, Step


def _pixels(value: object) -> float:
    number = read_fraction(value)
    if number is None or number <= 0:
        raise ValueError(f"must be a distance in pixel units such as 4/255, not {show(value)}")
    return number


def _part(value: object) -> float:
    number = read_fraction(value)
    if number is None or not 0 <= number < 1:
        raise ValueError(f"must be a share of at least 0 and below 1, not {show(value)}")
    return number


Pixels = Annotated[float, BeforeValidator(_pixels)]
Part = Annotated[float, BeforeValidator(_part)]
MethodName = Literal["pgd", "trades", "fast", "standard"]

READ_KEYS: Mapping[str, frozenset[str]] = {
    "pgd": frozenset({"steps", "step_size", "clean_share", "batch_norm"}),
    "trades": frozenset({"steps", "step_size", "beta", "batch_norm"}),
    "fast": frozenset({"step_size", "clean_share", "batch_norm"}),
    "standard": frozenset(),
}
"""Keys of each method besides its name."""


class Method(Section):
    """The training method: its loss and search.

    ``pgd`` (Madry et al. 2018) trains on PGD's images; ``trades`` (Zhang et al. 2019) on the clean ones and the
    divergence from them that PGD finds; ``fast`` (Wong et al. 2020) on a single step from a random start;
    ``standard`` on clean images, which with ``augmentation`` is degradation training (Wang et al. 2020).

    Parameters
    ----------
    name
        Or the whole method as a bare string.
    steps
        Steps of the inner search; None means 7 for ``pgd`` and 10 for ``trades``.
    step_size
        In pixel units; where None 2.5 eps / steps for ``pgd`` and ``trades``, 1.25 eps for ``fast``.
    clean_share
        The share of each batch that is left clean.
    beta
        Weight of the divergence.
    batch_norm
        Statistics during the search: ``eval`` the running ones, ``train`` those of the batch, as in the code of
        Madry et al. and of Wong et al.; the running ones are left alone.
    """

    name: MethodName
    steps: Count | None = None
    step_size: Pixels | None = None
    clean_share: Part = 0.0
    beta: Rate = 6.0
    batch_norm: Literal["eval", "train"] = "eval"

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> Self:
        for key in sorted(self.model_fields_set - {"name"} - READ_KEYS[self.name]):
            raise ValueError(f"the method '{self.name}' has no '{key}'")
        return self

    @property
    def search_steps(self) -> int:
        """Steps of the inner search."""
        return {"pgd": self.steps or 7, "trades": self.steps or 10, "fast": 1, "standard": 0}[self.name]

    def search_step_size(self, eps: float, full_eps: float) -> float:
        """Return the length of a step at a warm-up budget; a given step size refers to the full budget."""
        if self.step_size is not None:
            return self.step_size * eps / full_eps
        return 1.25 * eps if self.name == "fast" else 2.5 * eps / max(self.search_steps, 1)


class Threat(Section):
    """Norm and budget that the detector is trained and judged against."""

    norm: Literal["linf", "l2"] = "linf"
    eps: Pixels

    @model_validator(mode="after")
    def _is_in_pixels(self) -> Self:
        if self.norm == "linf" and self.eps >= 1:
            raise ValueError(f"an L∞ eps is in pixel units, below 1, such as 4/255, not {self.eps:g}")
        return self


class TuningData(DataSpec):
    """Images of a fine-tuning: as in a scenario, without a split; ``validation`` is held out if the source has no validation split.

    The training split is trained on, the validation split decides, and the test split is left for the report.
    """

    validation: Share = 0.1

    @model_validator(mode="after")
    def _has_no_split(self) -> Self:
        if "split" in self.model_fields_set:
            raise ValueError(
                "has no 'split': train is for training, val for the selection of the epoch, test for the report"
            )
        return self


class Budget(Section):
    """Length of the training: ``epochs``, or the whole epochs that fit into ``minutes``."""

    epochs: Count | None = None
    minutes: Rate | None = None

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if (self.epochs is None) == (self.minutes is None):
            raise ValueError("a budget is either epochs or minutes")
        return self


class Schedule(Section):
    """The optimiser, and the schedules of learning rate and eps.

    ``eps_warmup`` is the share of the training over which eps rises from 0 to its value.
    """

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adamw"
    learning_rate: Rate = 1e-3
    weight_decay: Amount = 1e-4
    momentum: Amount = 0.9
    shape: Literal["constant", "cosine", "one_cycle"] = "one_cycle"
    batch_size: Count = 64
    eps_warmup: Part = 0.0
    label_smoothing: Amount = 0.0


class Judging(Section):
    """Selection of the kept epoch by robust balanced accuracy under PGD, on that many validation images."""

    images: Count = 1000
    steps: Count = 10


class Watch(Section):
    """The collapse watch: training steps between checks, and number of validation images.

    ``every`` is a fifth of an epoch and at least 50 steps where None.
    """

    every: Count | None = None
    images: Count = 200


class AfterReport(Section):
    """The report before and after: the built-in scenario, or a scenario file.

    On as many test images, at most ``limit``, as the report takes no longer with than the training took; where few
    images take longer, the built-in scenario gets fewer steps, queries and attacks. ``images``, a number or ``all``,
    is for the whole scenario on that many images, however long it takes. ``queries`` are those of Square inside
    ``auto``; the Square beside it has at most 1,000 of them.
    """

    scenario: str | None = None
    limit: Count = 500
    images: Count | Literal["all"] | None = None
    queries: Count = 1000

    @model_validator(mode="after")
    def _is_limited_once(self) -> Self:
        if self.images is not None and "limit" in self.model_fields_set:
            raise ValueError("takes either images (a fixed number) or limit (at most this many)")
        return self


class FineTuning(Document):
    """A whole fine-tuning file, version 1.

    ``balance`` draws an epoch as a training recipe does: as many images of one class as of the other, or, with
    ``generators``, also as many of each generator.
    """

    version: Literal[1]
    name: Name
    summary: str = ""
    detector: DetectorSpec
    data: TuningData
    method: Method
    threat: Threat
    budget: Budget
    schedule: Schedule = Field(default_factory=Schedule)
    augmentation: list[Step] = Field(default_factory=list)
    balance: Balance = False
    average: Part = 0.0
    selection: Judging = Field(default_factory=Judging)
    early_stopping: Count | None = None
    watch: Watch = Field(default_factory=Watch)
    report: AfterReport = Field(default_factory=AfterReport)
    seed: Whole = 42
    precision: Literal["auto", "fp32", "bf16"] = "auto"


def load_finetuning(file: str | Path) -> FineTuning:
    """Read and validate a fine-tuning file.

    Parameters
    ----------
    file
        Path of a YAML file, or the name of a shipped one (``finetune_pgd_eps2``).

    Raises
    ------
    UserError
        With file, line, key and what to do.
    """
    path, shipped = Path(file), shipped_files("finetunings")
    try:
        is_there = path.exists()
    except OSError as error:
        raise UserError(f"'{shortened(str(file))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        if str(file) in shipped_files("scenarios"):
            raise UserError(
                f"'{file}' is a scenario, not a fine-tuning file", hint=f"robust-aigen run {file}"
            )
        if path.stem not in shipped or path.parts[:-1] not in ((), ("scenarios",)):
            hint = f"give a YAML file or a shipped one; {did_you_mean(path.stem, shipped)}"
            raise UserError(f"no fine-tuning file '{shortened(str(file))}'", hint=hint)
        path = shipped[path.stem]
    located = read_yaml(path)
    is_scenario = isinstance(located.content, dict) and "pipelines" in located.content
    if is_scenario and "method" not in located.content:
        raise located.error(
            "is a scenario, not a fine-tuning file", ("pipelines",), f"robust-aigen run {file}"
        )
    return validated(FineTuning, located, "a fine-tuning file")


def names_fine_tuning(file: str | Path) -> bool:
    """Whether a file, or the name of a shipped one, is a fine-tuning file and no scenario."""
    path = Path(file)
    if path.is_file():
        return is_fine_tuning(read_yaml(path).content)
    return path.stem in shipped_files("finetunings") and path.parts[:-1] in ((), ("scenarios",))
