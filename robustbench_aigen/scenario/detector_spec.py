"""Specifications of detectors in a scenario, a card or a command line."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from robustbench_aigen.documents.document import PartError, Section, show, validated, validated_values
from robustbench_aigen.documents.located_yaml import LocatedYaml, yaml_value
from robustbench_aigen.errors import UserError, printable, shortened
from robustbench_aigen.scenario.http_spec import HttpSpec, answers_beside, check_address
from robustbench_aigen.scenario.trim_spec import TrimSpec
from robustbench_aigen.stages.parameters import read_fraction

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr", "grey", "rgba"]
Outputs = Literal["logits", "probabilities", "percentages"]
Crop = Literal["center", "five", "tiles"]
Rule = Literal["mean_score", "mean_logit", "majority"]
"""Combination rule of an ensemble."""


def read_triple(value: object) -> object:
    """Read three numbers in pixel units, one per channel; raise ValueError for anything else but None.

    Numbers above 1 are of levels from 0 to 255: on pixels they would make of every image the same.
    """
    if value is None:
        return None
    read = [read_fraction(item) for item in value] if isinstance(value, list | tuple) else []
    numbers = [number for number in read if number is not None]
    if len(numbers) != 3 or len(read) != 3:
        raise ValueError(f"must be three numbers, one per channel, not {show(value)}")
    if max(numbers) > 1:
        scaled = ", ".join(f"{number:g}/255" for number in numbers)
        raise ValueError(
            f"must be in pixel units, at most 1, not {show(value)}: of levels from 0 to 255 write [{scaled}]"
        )
    return tuple(numbers)


def read_positive_triple(value: object) -> object:
    """Read three numbers above 0; raise ValueError for anything else but None."""
    if value is None:
        return None
    numbers = read_triple(value)
    if min(numbers) <= 0:  # type: ignore[call-overload]
        raise ValueError(f"must be greater than 0, not {show(value)}")
    return numbers


def _sides(value: object) -> object:
    """Take one number for both sides of a square."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


Side = Annotated[int, Field(strict=True, gt=0)]
Sides = Annotated[tuple[Side, Side] | None, BeforeValidator(_sides)]
Triple = Annotated[tuple[float, float, float] | None, BeforeValidator(read_triple)]


_CROPS = {
    "centre": "center", "center_crop": "center", "five_crop": "five", "five_crops": "five", "tile": "tiles",
}  # fmt: skip


def _crop(value: object) -> object:
    """Take other spellings of the crops."""
    return _CROPS.get(value, value) if isinstance(value, str) else value


_COMBINE = re.compile(r"mean_score|mean_logit|max_score|top[1-9][0-9]*")


def read_combine(value: object) -> object:
    """Read the rule that makes one answer of those to several views; raise ValueError for anything else but None."""
    if value is None:
        return None
    text = {"mean": "mean_score", "max": "max_score"}.get(value, value) if isinstance(value, str) else value
    if not isinstance(text, str) or not _COMBINE.fullmatch(text):
        raise ValueError(f"must be mean_score, mean_logit, max_score or topK such as top3, not {show(value)}")
    return text


def read_pad(value: object) -> object:
    """Read the padding of images that are smaller than the crop: ``reflect``, or a level as a number in [0, 1]."""
    if value is None or value == "reflect":
        return value
    level = 0.0 if value in ("black", "constant") else read_fraction(value)
    if level is None or not 0 <= level <= 1:
        raise ValueError(
            f"must be reflect, black, or a grey level from 0 to 1 such as 0.5, not {show(value)}"
        )
    return level


def _outputs(value: object) -> object:
    """Take the names of the functions that make probabilities, and other words for percentages."""
    words = {"sigmoid": "probabilities", "softmax": "probabilities", "percent": "percentages"}
    return words.get(value, value) if isinstance(value, str) else value


def _place(value: object) -> object:
    """Take a position as the text that names it."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PreprocessingSpec(Section):
    """Preprocessing keys of a scenario or a card; None if undeclared.

    Parameters
    ----------
    input_size
        Height and width of the network's input, or one number for both.
    mean
        Mean of each channel, in pixel units and in the order of the network's channels.
    std
        Standard deviation of each channel, in pixel units and in the order of the network's channels.
    fake_index
        Position of the output for *fake*.
    channels
        Order of the network's channels.
    outputs
        Kind of the network's outputs.
    resample
        Filter of the resize.
    resize_to
        Size before a crop to ``input_size``: the shorter side, or height and width.
    crop
        Views of ``input_size`` from the image: one, five, or tiles. ``none`` is the whole image at its own size.
    stride
        Distance of the tiles.
    combine
        Rule that makes one answer of those to several views: ``mean_score``, ``mean_logit``, ``max_score``, ``top3``.
    pad
        Surroundings of images that are smaller than the crop: ``reflect``, or a grey level from 0 to 1.
    """

    input_size: Sides = None
    mean: Triple = None
    std: Annotated[tuple[float, float, float] | None, BeforeValidator(read_positive_triple)] = None
    fake_index: Literal[0, 1] | None = None
    channels: Channels | None = None
    outputs: Annotated[Outputs | None, BeforeValidator(_outputs)] = None
    resample: Resample | None = None
    resize_to: Side | tuple[Side, Side] | None = None
    crop: Annotated[Crop | Literal["none"] | None, BeforeValidator(_crop)] = None
    stride: Sides = None
    combine: Annotated[str | None, BeforeValidator(read_combine)] = None
    pad: Annotated[float | Literal["reflect"] | None, BeforeValidator(read_pad)] = None


GEOMETRY = frozenset({"input_size", "resize_to", "resample", "crop", "stride", "combine", "pad"})
"""Keys that a shipped or published detector takes as well: what of an image its network sees."""


class FileSpec(PreprocessingSpec):
    """Keys of a scenario or a card for a detector's file, besides the preprocessing.

    Parameters
    ----------
    arch
        Architecture of a file of weights: a name of the zoo, of torchvision, or ``timm:NAME``.
    arch_options
        Arguments of the architecture.
    weights_key
        One of several sets of weights in a checkpoint, such as ``model_ema``.
    output
        One of several outputs, by its name or position.
    """

    arch: str | None = None
    arch_options: dict[str, Any] | None = None
    weights_key: str | None = None
    output: Annotated[str | None, BeforeValidator(_place)] = None

    def __hash__(self) -> int:
        # The options are a dict, which has no hash.
        return hash(self.model_dump_json())


_PREFIX = re.compile(r"[A-Za-z]\w+:")
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")


def library_prefix(text: str) -> str:
    """Return the prefix of an id of a library model or a function, such as ``timm:``; empty for other ids."""
    found = _PREFIX.match(text)
    return found[0] if found else ""


def is_address(text: str) -> bool:
    """Whether an id is the address of a detector behind HTTP."""
    return library_prefix(text) in ("http:", "https:")


class DetectorSpec(FileSpec):
    """Detector: an id (or a bare string), a file with its architecture, or an ensemble of detectors.

    Parameters
    ----------
    id
        Id of a shipped or published detector, ``timm:…``, ``hf:…``, ``python:FILE.py:FUNCTION``, or the address of a
        service.
    path
        A file of weights or a whole model.
    ensemble
        The members of an ensemble, at least two.
    by
        Rule that combines the answers of an ensemble.
    name
        Name in tables, instead of the id or the path.
    wrap
        A defence around the detector.
    http
        How a service behind an address receives images and answers.
    """

    id: str | None = None
    path: str | None = None
    ensemble: Annotated[tuple["DetectorSpec", ...] | None, Field(min_length=2)] = None
    by: Rule | None = None
    name: Annotated[str, Field(pattern=r"\S")] | None = None
    wrap: TrimSpec | None = None
    http: HttpSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: object) -> object:
        if isinstance(value, str):
            return {"path": value} if _is_file(value) else {"id": value}
        return value

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Self:
        given = self.model_fields_set - {"name", "wrap"}
        if self.id is not None and not library_prefix(self.id) and given - {"id"} - GEOMETRY:
            raise ValueError(
                "a shipped detector brings its settings: only 'name', 'wrap' and what it sees of an image "
                f"({', '.join(sorted(GEOMETRY))}) go with 'id'"
            )
        if sum(each is not None for each in (self.id, self.path, self.ensemble)) != 1:
            raise ValueError(
                "a detector is an id such as minigen/lenet5 or hf:FOLDER, a 'path' (with an 'arch' if it is weights), "
                "or an 'ensemble' of detectors"
            )
        if self.ensemble is not None and (given - {"ensemble", "by"} or self.wrap is not None):
            raise ValueError("only 'by' and 'name' go with 'ensemble': settings belong to its members")
        if self.by is not None and self.ensemble is None:
            raise ValueError("'by' needs an 'ensemble'")
        # An address may hold a credential, so no other message shows it before.
        self._check_http()
        if self.id is not None and self.arch is not None:
            raise ValueError(f"'arch' goes with 'path': '{self.id}' brings its own")
        return self

    def _check_http(self) -> None:
        if self.id is None or not is_address(self.id):
            if self.http is not None:
                raise ValueError("'http' needs the address of the service: id: https://host/path")
            return
        check_address(self.id)
        others = self.model_fields_set - {"id", "name", "http"}
        if others:
            raise PartError(
                f"'{min(others)}' does not go with an address: the service does its own preprocessing",
                (min(others),),
                "describe the answer in 'http: {score: …}'",
            )
        if self.http is None:
            raise PartError(
                "an address needs 'http', the description of the service",
                (),
                f"{{id: '{self.id}', http: {{score: {{path: score, of: fake}}}}}}, or a YAML file with these keys",
            )

    @classmethod
    def from_text(cls, text: str, arch: str | None = None, folder: Path | None = None) -> Self:
        """Read what stands on a command line: an id, a file, a folder, ``timm:…``, ``hf:…``, ``python:…``.

        In braces it is what a scenario may say of a detector: ``{path: my.ckpt, arch: resnet18, weights_key: ema}``.

        Parameters
        ----------
        text
            The detector as written on the command line.
        arch
            The architecture of a file of weights.
        folder
            The folder that relative paths start at; paths become absolute. None leaves them as they are.

        Raises
        ------
        UserError
            If an architecture is given to what brings its own.
        """
        if text.lstrip().startswith("{"):
            return cls._from_braces(text, arch, folder)
        if library_prefix(text):
            if arch is not None:
                raise UserError(f"'{text}' brings its own architecture: leave '{arch}' out")
            if is_address(text):
                return validated_values(cls, {"id": text}, "a detector")
            prefix, _, place = text.partition(":")
            return cls(id=text if folder is None else f"{prefix}:{_absolute(prefix, place, folder)}")
        if arch is None and not _is_file(text):
            return cls(id=text)
        path = text if folder is None else _beside(folder, text)
        return cls(path=path) if arch is None else cls(path=path, arch=arch)

    @classmethod
    def _from_braces(cls, text: str, arch: str | None, folder: Path | None) -> Self:
        hint = "write it as in a scenario: {path: my.ckpt, arch: resnet18}, with a space after each colon"
        try:
            content = yaml_value(text)
        except ValueError as error:
            problem = " ".join(str(error).split())[:80]
            raise UserError(f"--detector is not valid YAML: {problem}", hint=hint) from error
        keys = content if isinstance(content, dict) else {}
        for key in (str(key) for key, value in keys.items() if value is None and ":" in str(key)):
            raise UserError(f"--detector: no space after the colon of '{shortened(key)}'", hint=hint)
        spec = validated(cls, LocatedYaml(Path("--detector"), content), "--detector")
        if arch is not None and spec.arch is None and spec.path is not None:
            spec = spec.model_copy(update={"arch": arch})
        return spec if folder is None else spec.starting_at(folder)

    def starting_at(self, folder: Path) -> Self:
        """Return the same with absolute paths; relative ones start at a folder."""
        changes: dict[str, object] = {}
        if self.path is not None:
            changes["path"] = _beside(folder, self.path)
        if self.id is not None and library_prefix(self.id):
            prefix, _, place = self.id.partition(":")
            changes["id"] = f"{prefix}:{_absolute(prefix, place, folder)}"
        if self.ensemble is not None:
            changes["ensemble"] = tuple(member.starting_at(folder) for member in self.ensemble)
        if self.http is not None:
            changes["http"] = answers_beside(self.http, folder)
        return self.model_copy(update=changes)

    @field_serializer("id", "path", when_used="json")
    def _in_utf8(self, value: str | None) -> str | None:
        # Bytes of a file's name that are not UTF-8 would be none in JSON.
        return None if value is None else printable(value)

    @property
    def argument(self) -> str:
        """The detector as a command-line argument: its id or path, or all its keys in braces."""
        said = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        if said.keys() <= {"id", "path", "arch"}:
            return printable(self.text)
        return json.dumps(said, ensure_ascii=False)

    @property
    def text(self) -> str:
        """Default name of the detector: its id or path, or those of an ensemble."""
        if self.ensemble is not None:
            return f"{self.by or 'mean_score'}({', '.join(member.text for member in self.ensemble)})"
        return str(self.id or self.path)


def _is_file(text: str) -> bool:
    if library_prefix(text):
        return False
    return bool(_SUFFIX.fullmatch(Path(text).suffix)) or text.startswith(("./", "../", "/", "~"))


def _beside(folder: Path, text: str) -> str:
    """Make a path absolute; links stay, because their names give the format and the name of a detector."""
    return os.path.normpath(Path.cwd() / folder / Path(text).expanduser())


def _absolute(prefix: str, place: str, folder: Path) -> str:
    """Make the local path in an id absolute, where it is one."""
    if is_address(f"{prefix}:"):
        return place
    path, colon, function = place.rpartition(":") if prefix == "python" else (place, "", "")
    local = (folder / Path(path).expanduser()).resolve()
    # What a folder of transformers could be is one, where it cannot be the id of a hub.
    if prefix == "python":
        is_local = path.endswith(".py")
    elif prefix in ("hf", "timm"):
        is_local = local.is_dir() or (prefix == "hf" and path.count("/") != 1)
    else:
        is_local = local.exists()
    return f"{local}{colon}{function}" if is_local else place
