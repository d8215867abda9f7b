"""The scenario file: keys, validation and error messages."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PositiveInt, ValidationError

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.documents.document import Document, not_a_boolean, show, validated, validated_values
from robustbench_aigen.documents.located_yaml import LocatedYaml, read_yaml
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.files import write_atomically
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.gate_spec import GateSpec
from robustbench_aigen.scenario.protocol_spec import ProtocolSpec
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.stages.stage import Stage

if TYPE_CHECKING:
    from robustbench_aigen.engine.experiment import Experiment
    from robustbench_aigen.engine.progress import Progress
    from robustbench_aigen.runs.run import Run

Objective = Literal["both", "fake_to_real", "real_to_fake"]
Mode = Literal["accuracy", "score"]
Precision = Literal["auto", "fp32", "bf16"]
Trust = Literal["quick", "full", "off"]
"""Depths of the trust checks."""
SsimRule = Literal["sample", "all", "off"]
"""The images on which SSIM is measured."""
KeepImages = Literal["some", "all"]
"""Which attacked images a run keeps."""


def _bare_off(value: object) -> object:
    # YAML reads a bare off as false.
    return "off" if value is False else value


_KINDS = ("scenarios", "protocols", "finetunings")
"""Kinds of shipped files that a command may name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")


def read_threshold(value: object) -> float | str:
    """Read a score between 0 and 1, or a rule that fits one; raise ValueError for anything else."""
    message = f"must be a number between 0 and 1, 'youden' or 'fpr@0.01', not {show(value)}"
    if isinstance(value, str) and value.startswith("fpr@"):
        rate = read_fraction(value.removeprefix("fpr@"))
        if rate is not None and 0 <= rate < 1:
            return value
    elif value == "youden":
        return "youden"
    elif not isinstance(value, str) and (number := read_fraction(value)) is not None and 0 < number < 1:
        return number
    raise ValueError(message)


def _unsure(value: object) -> float | None:
    text = value.strip() if isinstance(value, str) else value
    percent = isinstance(text, str) and text.endswith("%")
    number = read_fraction(text.removesuffix("%") if isinstance(text, str) else text)
    if number is not None and percent:
        number /= 100
    if number is None or not 0 < number < 0.5:
        raise ValueError(f"must be a share between 0 and 0.5, such as 0.1 or 10 %, not {show(value)}")
    return number


def _name(value: object) -> object:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError(
            f"'{value}' names a folder: use at most 100 letters, digits, '_', '-', '.', and begin with one of the first two"
        )
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(not_a_boolean)]
Count = Annotated[PositiveInt, BeforeValidator(not_a_boolean)]


Name = Annotated[str, BeforeValidator(_name)]
ThresholdRule = Annotated[float | str, BeforeValidator(read_threshold)]


def _stages(value: object) -> object:
    """Convert stages made in Python, one or several, to the form in a scenario."""
    if isinstance(value, Stage):
        value = [value]
    if isinstance(value, list | tuple):
        return [each.written() if isinstance(each, Stage) else each for each in value]
    return value


class RunSettings(Document):
    """Settings of a run besides detectors, images and pipelines.

    Parameters
    ----------
    name
        Name of the scenario and of its folder of results.
    summary
        Description in one line.
    threshold
        The score from which on an image is called fake: a number, ``youden``, or ``fpr@0.01``.
    objective
        The attacked class: ``fake_to_real`` is evasion, ``real_to_fake`` is framing.
    mode
        ``accuracy``: attacks stop at a success. ``score``: every image gets every step, so that scores are comparable.
    share_sweeps
        Whether an image that is fooled at a smaller eps counts as fooled at a larger eps.
    ssim
        The images on which SSIM is measured: a fixed sample of the images above 64×64 pixels, ``all``, or ``off``.
    keep_images
        ``some``: a few attacked images for the report, large ones cut to their middle. ``all``: every attacked image,
        whole.
    seed
        Seed of all random numbers.
    batch_size
        Images per batch; by default, the detector's own number.
    precision
        Precision of gradients: ``auto`` is bfloat16 where the hardware has bfloat16, else float32.
    trust
        Depth of the trust checks.
    metrics
        Optional metrics to add to the summary.
    unsure
        The share of wrong verdicts that a band of unsure log-odds promises, fitted on the clean validation split.
    gate
        Limits for losses against a baseline.
    """

    name: Name
    summary: str = ""
    threshold: ThresholdRule = 0.5
    objective: Objective = "both"
    mode: Mode = "accuracy"
    share_sweeps: bool = True
    ssim: Annotated[SsimRule, BeforeValidator(_bare_off)] = "sample"
    keep_images: KeepImages = "some"
    seed: Whole = 42
    batch_size: Count | None = None
    precision: Precision = "auto"
    trust: Annotated[Trust, BeforeValidator(_bare_off)] = "quick"
    metrics: list[str] = Field(default_factory=list)
    unsure: Annotated[float, BeforeValidator(_unsure)] | None = None
    gate: GateSpec | None = None


class Scenario(RunSettings):
    """An experiment as plain values: data, detectors, pipelines, settings.

    ``Scenario.from_yaml("pgd_eps4")`` reads a file or a shipped scenario, ``Scenario(name=…, data=…, detectors=[…],
    pipelines={…})`` makes one in Python. Relative paths start at the folder of the file, or at the current one.

    Parameters
    ----------
    version
        Version of this format.
    data
        The images.
    detectors
        The detectors, each as a mapping, an id, or the path of a file.
    pipelines
        Names of pipelines, each with a list of stages: ``{attack: NAME, …}`` or ``{perturb: NAME, …}`` with the
        parameters of the recipe. A list of values is a sweep. ``clean`` is always run.
    plugins
        Python files that register plugins of any kind; paths start at :attr:`folder`.
    protocol
        The published evaluation that the scenario follows.
    """

    version: Literal[1] = 1
    data: DataSpec
    detectors: Annotated[list[DetectorSpec], Field(min_length=1)]
    pipelines: dict[str, Annotated[list[dict[str, object]], BeforeValidator(_stages)]]
    plugins: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    protocol: ProtocolSpec | None = None

    def __init__(self, **content: Any) -> None:
        try:
            super().__init__(**content)
        except ValidationError:
            validated_values(Scenario, content, "a scenario")
            raise

    # Validation of a whole file makes the object itself, and collects all errors.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_yaml(cls, file: str | Path) -> "Scenario":
        """Read and validate a scenario.

        Parameters
        ----------
        file
            Path of a YAML file, or the name of a shipped scenario (``pgd_eps4``).

        Raises
        ------
        UserError
            With file, line, key and what to do.
        """
        document = read_yaml(_file_of(file))
        if is_fine_tuning(document.content):
            raise document.error(
                "is a fine-tuning file, not a scenario", ("method",), f"robust-aigen finetune {file}"
            )
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: LocatedYaml) -> "Scenario":
        """Validate a scenario that was read from a file."""
        scenario = validated(cls, document, "a scenario")
        if "version" not in document.content:
            raise document.error("the key 'version' is missing", ("version",))
        return scenario

    @classmethod
    def from_dict(cls, content: Mapping[str, object], folder: str | Path = ".") -> "Scenario":
        """Make a scenario of what a file would hold.

        Parameters
        ----------
        content
            Keys and plain values.
        folder
            The folder that relative paths start at.

        Raises
        ------
        UserError
            With key and what to do.
        """
        given = dict(content) if isinstance(content, Mapping) else content
        scenario = validated_values(cls, given, "a scenario")
        scenario._folder = Path(folder)
        return scenario

    def __hash__(self) -> int:
        return hash(json.dumps(self.model_dump(mode="json"), sort_keys=True))

    def to_dict(self) -> dict[str, object]:
        """Return the content of a file for this scenario: the given keys, as plain values."""
        return {
            "version": self.version,
            **self.model_dump(mode="json", exclude_unset=True, exclude_none=True),
        }

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the scenario as YAML, and write it to a file if a path is given.

        Raises
        ------
        UserError
            If an attack was made from an object, or is crafted on a detector in memory; a file cannot name these.
        """
        content = self.to_dict()
        for name, stages in self.pipelines.items():
            for stage in stages:
                attack, surrogate = stage.get("attack"), stage.get("surrogate")
                if isinstance(attack, Mapping):
                    raise UserError(
                        f"pipeline '{name}': the attack '{attack.get('memory')}' was made from an object, which a file cannot name",
                        hint="use evaluate(detector, data, pipelines)",
                    )
                if isinstance(surrogate, Mapping) and "memory" in surrogate:
                    raise UserError(
                        f"pipeline '{name}': the surrogate '{surrogate['memory']}' is a detector in memory, which no file can name",
                        hint="save its weights and name the file",
                    )
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        if path is not None:
            write_atomically(Path(path), text.encode())
        return text

    def replace(self, **changes: object) -> "Scenario":
        """Return the same with some keys replaced.

        Relative paths in ``data``, given as text or as a mapping, start at the current folder.

        Raises
        ------
        UserError
            If a value is not one that a file could have.
        """
        scenario = self.replaced(changes)
        if isinstance(changes.get("data"), str | Mapping):
            scenario = scenario.model_copy(update={"data": scenario.data.starting_here()})
        return scenario

    def check(self) -> list[str]:
        """Check data, detectors and pipelines without running code of detectors; return the checks that were left out.

        Raises
        ------
        UserError
            For the first mistake.
        """
        from robustbench_aigen.engine.scenario_checks import check_scenario

        return check_scenario(self).notes

    def experiment(self, device: str = "auto", *, trust_code: bool = False) -> "Experiment":
        """Load detectors and data, and return the :class:`robustbench_aigen.Experiment`.

        Raises
        ------
        UserError
            If the scenario, a detector or the data are wrong.
        """
        from robustbench_aigen.engine.experiment import make_experiment

        return make_experiment(self, device=device, trust_code=trust_code)

    def run(
        self,
        output: str | Path = "results",
        *,
        device: str = "auto",
        fresh: bool = False,
        trust_code: bool = False,
        progress: "Progress | None" = None,
        cache: str | Path | None = None,
    ) -> "Run":
        """Run the scenario into a results folder and return the :class:`robustbench_aigen.Run`.

        Parameters
        ----------
        output
            The results folder.
        device, fresh, trust_code, progress, cache
            As in :func:`robustbench_aigen.evaluation.run`.
        """
        from robustbench_aigen.evaluation import run

        return run(
            self,
            output=output,
            device=device,
            fresh=fresh,
            trust_code=trust_code,
            progress=progress,
            cache=cache,
        )


def with_detectors(loaded: Scenario, texts: Sequence[str], arch: str | None, folder: Path) -> Scenario:
    """Return a scenario with the detectors that a command line names; paths start at ``folder``.

    Raises
    ------
    UserError
        If one does not make sense.
    """
    specs = [DetectorSpec.from_text(text, arch, folder) for text in texts]
    return loaded.replace(detectors=[spec.model_dump(exclude_unset=True) for spec in specs])


def protocol_file(name: str) -> Path:
    """Return the scenario file of a shipped protocol.

    Raises
    ------
    UserError
        If no protocol has the name.
    """
    protocols = shipped_files("protocols")
    if name not in protocols:
        raise UserError(f"no protocol '{name}'", hint=did_you_mean(name, protocols))
    return protocols[name]


def load_scenario(file: str | Path) -> Scenario:
    """Read a scenario, as :meth:`Scenario.from_yaml` does."""
    return Scenario.from_yaml(file)


def _file_of(file: str | Path) -> Path:
    """Return the path of a scenario file, or of the shipped scenario of a name."""
    if not isinstance(file, str | Path):
        raise UserError(
            f"a scenario is a {type(file).__name__}", hint="give a YAML file or the name of a shipped one"
        )
    path = Path(file)
    shipped = {name: place for kind in _KINDS for name, place in shipped_files(kind).items()}
    try:
        is_there = path.exists()
    except OSError as error:
        raise UserError(f"scenario '{shortened(str(file))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        if str(file) in shipped:
            path = shipped[str(file)]
        elif path.stem in shipped and path.parts[:-1] in ((), ("scenarios",), ("scenarios", "protocols")):
            path = shipped[path.stem]
        else:
            raise UserError(
                f"no scenario '{file}'",
                hint=f"give a YAML file or a shipped one; {did_you_mean(path.stem, {**shipped_files('scenarios'), **shipped_files('protocols')})}",
            )
    return path


def is_fine_tuning(content: object) -> bool:
    """Whether what was read from a file is meant for ``finetune`` and not for ``run``."""
    return isinstance(content, dict) and "method" in content and "pipelines" not in content
