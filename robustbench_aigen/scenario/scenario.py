"""The scenario file: what may stand in it, and how a mistake is told."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
)

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.documents.document import Section, not_a_boolean, show, validated
from robustbench_aigen.documents.located_yaml import LocatedYaml, Path_, read_yaml
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.gate_spec import GateSpec
from robustbench_aigen.stages.parameters import read_fraction

Objective = Literal["both", "fake_to_real", "real_to_fake"]
Mode = Literal["accuracy", "score"]
Trust = Literal["quick", "full", "off"]
"""How much the trust checks look at."""
SsimRule = Literal["sample", "all", "off"]
"""On which images SSIM is measured."""


def _bare_off(value: object) -> object:
    # YAML reads a bare off as false.
    return "off" if value is False else value


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")


def _threshold(value: object) -> float | str:
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


def _name(value: object) -> object:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError(
            f"'{value}' names a folder: use at most 100 letters, digits, '_', '-', '.', and begin with one of the first two"
        )
    return value


Whole = Annotated[int, BeforeValidator(not_a_boolean)]
Count = Annotated[PositiveInt, BeforeValidator(not_a_boolean)]


Name = Annotated[str, BeforeValidator(_name)]
ThresholdRule = Annotated[float | str, BeforeValidator(_threshold)]


class Scenario(Section):
    """A whole scenario file, version 1. Stages are checked when they are bound into cells."""

    version: Literal[1]
    name: Name
    summary: str = ""
    data: DataSpec
    detectors: Annotated[list[DetectorSpec], Field(min_length=1)]
    threshold: ThresholdRule = 0.5
    objective: Objective = "both"
    mode: Mode = "accuracy"
    pipelines: dict[str, list[dict[str, Any]]]
    share_sweeps: bool = True
    ssim: Annotated[SsimRule, BeforeValidator(_bare_off)] = "sample"
    seed: Whole = 42
    batch_size: Count | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    trust: Annotated[Trust, BeforeValidator(_bare_off)] = "quick"
    gate: GateSpec | None = None


@dataclass(frozen=True)
class LoadedScenario:
    """A scenario with the file it came from, for relative paths and for errors.

    ``overridden`` are its keys that were replaced afterwards: a mistake in them is not the file's.
    """

    scenario: Scenario
    yaml: LocatedYaml
    overridden: frozenset[str] = frozenset()

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the file start from."""
        return self.yaml.file.parent

    def replaced(self, **changes: object) -> "LoadedScenario":
        """Return the same with some keys of the scenario replaced (the command line's overrides).

        Relative paths in ``data``, given as text or as a mapping, start at the current folder.

        Raises
        ------
        UserError
            If a value is not one that the file could have.
        """
        content = {**self.scenario.model_dump(exclude_unset=True), **changes}
        scenario = validated(Scenario, LocatedYaml(Path("overrides"), content), "a scenario")
        if isinstance(changes.get("data"), str | Mapping):
            scenario = scenario.model_copy(update={"data": scenario.data.starting_here()})
        return LoadedScenario(scenario, self.yaml, self.overridden | changes.keys())

    def located(self, error: UserError, path: Path_) -> UserError:
        """Say where in the file the thing stands that turned out to be wrong, unless it is not from there."""
        if path[0] in self.overridden:
            return error
        message = error.message
        if error.file is not None:
            message = f"{error.file}:{error.line}: {message}" if error.line else f"{error.file}: {message}"
        located = self.yaml.error(message, path, error.hint)
        located.lines = error.lines
        return located


def with_detectors(
    loaded: LoadedScenario, texts: Sequence[str], arch: str | None, folder: Path
) -> LoadedScenario:
    """Return a scenario with the detectors that a command line names; paths start at ``folder``.

    Raises
    ------
    UserError
        If one does not make sense.
    """
    specs = [DetectorSpec.from_text(text, arch, folder) for text in texts]
    return loaded.replaced(detectors=[spec.model_dump(exclude_unset=True) for spec in specs])


def load_scenario(file: str | Path) -> LoadedScenario:
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
    path = Path(file)
    shipped = {**shipped_files("scenarios"), **shipped_files("finetunings")}
    try:
        is_there = path.exists()
    except OSError as error:
        raise UserError(f"scenario '{shortened(str(file))}' cannot be opened: {error.strerror}") from error
    if not is_there:
        if str(file) in shipped:
            path = shipped[str(file)]
        elif path.stem in shipped and path.parts[:-1] in ((), ("scenarios",)):
            path = shipped[path.stem]
        else:
            raise UserError(
                f"no scenario '{file}'",
                hint=f"give a YAML file or a shipped one; {did_you_mean(path.stem, shipped_files('scenarios'))}",
            )
    located = read_yaml(path)
    if is_fine_tuning(located.content):
        raise located.error(
            "is a fine-tuning file, not a scenario", ("method",), f"robust-aigen finetune {file}"
        )
    return LoadedScenario(validated(Scenario, located, "a scenario"), located)


def is_fine_tuning(content: object) -> bool:
    """Whether what was read from a file is meant for ``finetune`` and not for ``run``."""
    return isinstance(content, dict) and "method" in content and "pipelines" not in content
