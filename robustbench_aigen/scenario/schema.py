"""The scenario file: what may stand in it, and how a mistake is told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.errors import UserError, did_you_mean, shortened
from robustbench_aigen.scenario.located_yaml import LocatedYaml, Path_, read_yaml
from robustbench_aigen.scenario.parameters import read_fraction
from robustbench_aigen.scenario.validation import Section, show, validated

Objective = Literal["both", "fake_to_real", "real_to_fake"]
Mode = Literal["accuracy", "score"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}")


def _not_a_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004  pydantic collects ValueErrors
    return value


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


Whole = Annotated[int, BeforeValidator(_not_a_boolean)]
Count = Annotated[PositiveInt, BeforeValidator(_not_a_boolean)]


def _triple(value: object) -> object:
    if value is None:
        return None
    numbers = [read_fraction(item) for item in value] if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or None in numbers:
        raise ValueError(f"must be three numbers, one per channel, not {show(value)}")
    return tuple(numbers)


def _positive_triple(value: object) -> object:
    if value is None:
        return None
    numbers = _triple(value)
    if min(numbers) <= 0:  # type: ignore[call-overload]
        raise ValueError(f"must be greater than 0, not {show(value)}")
    return numbers


def _sides(value: object) -> object:
    """Take one number for both sides of a square."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Side = Annotated[int, Field(strict=True, gt=0)]
Triple = Annotated[tuple[float, float, float] | None, BeforeValidator(_triple)]


class DataSpec(Section):
    """Which images.

    ``source`` is ``minigen``, a folder, or a Parquet file or folder of them; ``split`` one of its splits or
    ``all``; ``limit`` how many images at most, stratified by generator and label.
    """

    source: str
    split: str = "test"
    limit: Count | None = None


def _outputs(value: object) -> object:
    """Take the names of the functions that make probabilities."""
    return "probabilities" if value in ("sigmoid", "softmax") else value


class PreprocessingSpec(Section):
    """What happens around a network, as far as a scenario or a card says it; None where it does not.

    ``mean`` and ``std`` are in pixel units and in the order of the network's channels. ``resize_to`` is what images
    are resized to before a centre crop to ``input_size``: the shorter side, or height and width.
    """

    input_size: Annotated[tuple[Side, Side] | None, BeforeValidator(_sides)] = None
    mean: Triple = None
    std: Annotated[tuple[float, float, float] | None, BeforeValidator(_positive_triple)] = None
    fake_index: Literal[0, 1] | None = None
    channels: Literal["rgb", "bgr"] | None = None
    outputs: Annotated[Literal["logits", "probabilities"] | None, BeforeValidator(_outputs)] = None
    resample: Literal["nearest", "bilinear", "bicubic"] | None = None
    resize_to: Side | tuple[Side, Side] | None = None


LIBRARY_PREFIXES = ("timm:", "hf:", "python:")
"""What an id begins with that names a model of a library or a function of one's own."""
DETECTOR_SUFFIXES = (
    ".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pt2", ".onnx", ".skops", ".keras", ".h5", ".hdf5", ".pkl", ".pickle",
    ".joblib",
)  # fmt: skip
"""What the names of detectors' files end in."""
Rule = Literal["mean_score", "mean_logit", "majority"]


class DetectorSpec(PreprocessingSpec):
    """Which detector: an id (or a bare string), a file with its architecture, or an ensemble of detectors."""

    id: str | None = None
    path: str | None = None
    arch: str | None = None
    ensemble: Annotated[tuple["DetectorSpec", ...] | None, Field(min_length=2)] = None
    by: Rule | None = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        if isinstance(value, str):
            return {"path": value} if _is_file(value) else {"id": value}
        return value

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Self:
        given = self.model_fields_set - {"name"}
        if self.id is not None and not self.id.startswith(LIBRARY_PREFIXES) and given - {"id"}:
            raise ValueError("a shipped detector brings all its settings: only 'name' goes with 'id'")
        if sum(each is not None for each in (self.id, self.path, self.ensemble)) != 1:
            raise ValueError(
                "a detector is an id such as minigen/lenet5 or hf:FOLDER, a 'path' (with an 'arch' if it is weights), "
                "or an 'ensemble' of detectors"
            )
        if self.ensemble is not None and given - {"ensemble", "by"}:
            raise ValueError("only 'by' and 'name' go with 'ensemble': settings belong to its members")
        if self.by is not None and self.ensemble is None:
            raise ValueError("'by' says how an 'ensemble' is combined")
        if self.id is not None and self.arch is not None:
            raise ValueError(f"'arch' goes with 'path': '{self.id}' brings its own")
        return self

    @classmethod
    def from_text(cls, text: str, arch: str | None = None, folder: Path | None = None) -> Self:
        """Read what stands on a command line: an id, a file, a folder, ``timm:…``, ``hf:…``, ``python:…``.

        Parameters
        ----------
        text
            It.
        arch
            The architecture of a file of weights.
        folder
            Where relative paths start; they become absolute. None leaves them as they are.
        """
        if text.startswith(LIBRARY_PREFIXES):
            prefix, _, place = text.partition(":")
            if folder is not None:
                place = _absolute(prefix, place, folder)
            return cls(id=f"{prefix}:{place}") if arch is None else cls(id=f"{prefix}:{place}", arch=arch)
        if arch is None and not _is_file(text):
            return cls(id=text)
        path = text if folder is None else str((folder / Path(text).expanduser()).resolve())
        return cls(path=path) if arch is None else cls(path=path, arch=arch)

    @property
    def text(self) -> str:
        """What the detector is called where it has no name: its id or path, or those of an ensemble."""
        if self.ensemble is not None:
            return f"{self.by or 'mean_score'}({', '.join(member.text for member in self.ensemble)})"
        return str(self.id or self.path)


def _is_file(text: str) -> bool:
    if text.startswith(LIBRARY_PREFIXES):
        return False
    return text.lower().endswith(DETECTOR_SUFFIXES) or text.startswith(("./", "../", "/", "~"))


def _absolute(prefix: str, place: str, folder: Path) -> str:
    """Make the local path in an id absolute, where it is one."""
    path, colon, function = place.rpartition(":") if prefix == "python" else (place, "", "")
    local = (folder / Path(path).expanduser()).resolve()
    # What a folder of transformers could be is one, where it cannot be the id of a hub.
    is_local = path.endswith(".py") if prefix == "python" else local.is_dir()
    is_local |= prefix == "hf" and path.count("/") != 1
    return f"{local}{colon}{function}" if is_local else place


class Scenario(Section):
    """A whole scenario file, version 1. Stages are checked when they are bound into cells."""

    version: Literal[1]
    name: Annotated[str, BeforeValidator(_name)]
    summary: str = ""
    data: DataSpec
    detectors: Annotated[list[DetectorSpec], Field(min_length=1)]
    threshold: Annotated[float | str, BeforeValidator(_threshold)] = 0.5
    objective: Objective = "both"
    mode: Mode = "accuracy"
    pipelines: dict[str, list[dict[str, Any]]]
    share_sweeps: bool = True
    seed: Whole = 42
    batch_size: Count | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"


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

        Raises
        ------
        UserError
            If a value is not one that the file could have.
        """
        content = {**self.scenario.model_dump(exclude_unset=True), **changes}
        scenario = validated(Scenario, LocatedYaml(Path("overrides"), content), "a scenario")
        return LoadedScenario(scenario, self.yaml, self.overridden | changes.keys())

    def located(self, error: UserError, path: Path_) -> UserError:
        """Say where in the file the thing stands that turned out to be wrong, unless it is not from there."""
        if path[0] in self.overridden:
            return error
        if error.file is None:
            return self.yaml.error(error.message, path, error.hint)
        where = f"{error.file}:{error.line}" if error.line else str(error.file)
        return self.yaml.error(f"{where}: {error.message}", path, error.hint)


def with_detectors(
    loaded: LoadedScenario, texts: Sequence[str], arch: str | None, folder: Path
) -> LoadedScenario:
    """Return a scenario with the detectors that a command line names; paths start at ``folder``.

    Raises
    ------
    UserError
        If one does not make sense.
    """
    specs = []
    for text in texts:
        try:
            specs.append(DetectorSpec.from_text(text, arch, folder))
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise UserError(f"--detector {text}: {reason}") from None
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
    shipped = shipped_files("scenarios")
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
                hint=f"give a YAML file or a shipped one; {did_you_mean(path.stem, shipped)}",
            )
    located = read_yaml(path)
    return LoadedScenario(validated(Scenario, located, "a scenario"), located)
