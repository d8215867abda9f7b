"""Recognition of a detector's format: by the prefix of its id, the content of its file, and the file's name."""

import zipfile
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.detectors.archives import HDF5, LARGEST_TEXT, beginning, file_kind, is_safetensors
from robustbench_aigen.detectors.format import DETECTOR_FORMATS, Format
from robustbench_aigen.detectors.formats.sharding import INDEX
from robustbench_aigen.errors import UserError

_UNDER_ONE_NAME = {"weights": ("exported", "torchscript"), "exported": ("torchscript", "weights")}
"""Kinds that are usual under the names of another."""
_PICKLES = (".pkl", ".pickle", ".joblib")


def format_of_id(text: str) -> tuple[Format, str] | None:
    """Return the kind and the rest of an id such as ``timm:NAME``; None for an id without a known prefix."""
    prefix, colon, place = text.partition(":")
    kind = next((each for each in DETECTOR_FORMATS if prefix in each.prefixes), None) if colon else None
    return None if kind is None else (kind, place)


class Found(NamedTuple):
    """Format of a file or folder, and a notice if its name suggests another format."""

    kind: Format
    notes: tuple[str, ...] = ()


def format_of_path(path: Path, text: str) -> Found:
    """Return the kind of a file or folder, by its content and, where that says too little, by its name.

    Raises
    ------
    UserError
        If it is of no kind that can be loaded.
    """
    if path.is_dir():
        return Found(_format_of_folder(path, text))
    suffix, by_name = _format_of_name(path)
    content = _format_of_content(path, text)
    by_content = None if content is None else DETECTOR_FORMATS[content]
    if by_name is not None and not by_name.built_in:
        return Found(by_name)
    if by_content is not None:
        same = by_name is None or by_content.name in (by_name.name, *_UNDER_ONE_NAME.get(by_name.name, ()))
        is_told = not same or (by_name is None and suffix not in _PICKLES)
        is_told |= (
            content == "weights" and (suffix == ".safetensors") != is_safetensors(path) and suffix != INDEX
        )
        return Found(
            by_content,
            (f"{path.name} is read as {_content_text(path, by_content)}, by its content",) * is_told,
        )
    if suffix in _PICKLES:
        raise UserError(
            f"'{text}' is a pickle, which is not loaded",
            hint="save the pipeline with skops.io.dump(model, 'FILE.skops')",
        )
    if by_name is None:
        known = ", ".join(sorted(_suffixes()))
        raise UserError(f"'{text}' is not a detector file", hint=f"known formats: {known}")
    return Found(by_name)


def _suffixes() -> dict[str, Format]:
    return {suffix: kind for kind in DETECTOR_FORMATS for suffix in kind.suffixes}


def _format_of_name(path: Path) -> tuple[str, Format | None]:
    """Return the longest known suffix of a file's name and its format, or the suffix and None."""
    known, name = _suffixes(), path.name.lower()
    suffix = max((suffix for suffix in known if name.endswith(suffix)), key=len, default=path.suffix.lower())
    return suffix, known.get(suffix)


def _format_of_folder(path: Path, text: str) -> Format:
    config = path / "config.json"
    if not config.is_file():
        index = next(iter(sorted(path.glob(f"*{INDEX}"))), None)
        hint = "give the file of the weights" if index is None else f"give {index.name} in it, with arch:"
        raise UserError(f"'{text}' is a folder without config.json", hint=hint)
    is_timm = b'"architecture"' in beginning(config, LARGEST_TEXT)
    return DETECTOR_FORMATS["timm" if is_timm else "transformers"]


def _content_text(path: Path, kind: Format) -> str:
    if kind.name == "weights":
        return "safetensors" if is_safetensors(path) else "weights of torch or numpy"
    return kind.what


_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of torch before 1.6."""


_AFTER_A_VERSION = (b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x42")
"""Bytes that follow the version in a file of ONNX."""


def _format_of_content(path: Path, text: str) -> str | None:
    """Return the kind that the first bytes and the names in an archive identify; None if they identify no kind."""
    start = beginning(path, 64)
    if not start:
        raise UserError(f"'{text}' is empty")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"'{text}' is a pointer of Git LFS, not the file itself", hint="git lfs pull fetches it"
        )
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise UserError(f"'{text}' is a web page, not the file itself", hint="download it again")
    if start.startswith(HDF5):
        return "keras"
    if is_safetensors(path) or start.startswith(_LEGACY_TORCH):
        return "weights"
    if start.startswith(b"PK\x03\x04"):
        return _format_of_archive(path)
    # A protobuf message that begins with a small version and continues with a text or a graph.
    if start[:1] == b"\x08" and start[1:2] < b"\x20" and start[2:3] in _AFTER_A_VERSION:
        return "onnx"
    return None


def _format_of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if "config.json" in names and {"metadata.json", "model.weights.h5"} & names:
        return "keras"
    if "schema.json" in names:
        return "skops"
    inner = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in inner or "archive_format" in inner or all(name.endswith(".npy") for name in names):
        return file_kind(path)
    return None
