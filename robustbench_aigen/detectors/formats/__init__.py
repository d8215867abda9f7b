"""Loaders of detectors, one per kind of file; which is which."""

import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robustbench_aigen.detectors.archives import HDF5, LARGEST_TEXT, beginning, file_kind, is_safetensors
from robustbench_aigen.detectors.formats.sharding import INDEX
from robustbench_aigen.errors import UserError

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector
    from robustbench_aigen.detectors.formats.request import Loaded, Request

Loader = Callable[["Request"], "Loaded | Detector"]


class Format(NamedTuple):
    """A kind of detector.

    Parameters
    ----------
    written
        How a user writes it.
    what
        What it is.
    gradients
        Whether attacks can differentiate it.
    trust
        When ``--trust-code`` is needed; empty where never.
    loader
        ``module:function`` in this package.
    """

    written: str
    what: str
    gradients: str
    trust: str
    loader: str

    def load(self, request: "Request") -> "Loaded | Detector":
        """Load a detector of this kind; its module is imported now."""
        module, _, function = self.loader.partition(":")
        loader: Loader = getattr(import_module(f"{__name__}.{module}"), function)
        return loader(request)


WEIGHTS = Format(
    "FILE.safetensors, .pt, .pth, .ckpt, .bin, .npz with arch:",
    "weights: safetensors, state dicts of torch, Lightning and training checkpoints",
    "yes", "for pickles of more than weights", "weights:load_weights",
)  # fmt: skip
EXPORTED = Format(
    "FILE.pt2", "program of torch.export", "yes", "always", "exported:load_exported"
)  # fmt: skip
TORCHSCRIPT = Format("FILE.pt", "TorchScript", "yes", "always", "exported:load_torchscript")
TRANSFORMERS = Format(
    "hf:FOLDER, hf:ORG/NAME", "image classifier of transformers, with its image processor",
    "yes", "for models with code of their own", "transformers_model:load_transformers",
)  # fmt: skip
TIMM = Format(
    "timm:FOLDER, timm:ORG/NAME", "model of timm, with its configuration", "yes", "", "timm_model:load_timm"
)  # fmt: skip
ONNX = Format(
    "FILE.onnx", "ONNX", "through onnx2torch; otherwise scores alone, and says so", "", "onnx_model:load_onnx"
)  # fmt: skip
KERAS = Format(
    "FILE.keras, FILE.h5", "Keras model, on torch", "yes", "for Lambda layers and layers from outside Keras",
    "keras_model:load_keras",
)  # fmt: skip
SKOPS = Format(
    "FILE.skops", "scikit-learn classifier of flattened pixels", "no: scores alone",
    "for types that skops does not trust", "scikit_learn:load_skops",
)  # fmt: skip
PYTHON = Format(
    "python:MODULE:FACTORY, python:FILE.py:FACTORY", "what a function of yours returns", "as it has them",
    "never: it is your own code", "python_factory:load_python",
)  # fmt: skip
FORMATS = (WEIGHTS, TRANSFORMERS, TIMM, ONNX, EXPORTED, TORCHSCRIPT, KERAS, SKOPS, PYTHON)
"""Every kind, as ``list detectors`` shows them."""

_BY_PREFIX = {"timm": TIMM, "hf": TRANSFORMERS, "python": PYTHON}
_BY_SUFFIX = {
    ".safetensors": WEIGHTS, ".pt": WEIGHTS, ".pth": WEIGHTS, ".ckpt": WEIGHTS, ".bin": WEIGHTS, ".tar": WEIGHTS,
    ".npz": WEIGHTS, INDEX: WEIGHTS, ".pt2": EXPORTED, ".onnx": ONNX, ".skops": SKOPS, ".keras": KERAS, ".h5": KERAS, ".hdf5": KERAS,
}  # fmt: skip
_BY_CONTENT = {"weights": WEIGHTS, "exported": EXPORTED, "torchscript": TORCHSCRIPT}
_UNDER_ONE_NAME = {WEIGHTS.written: (EXPORTED, TORCHSCRIPT), EXPORTED.written: (TORCHSCRIPT, WEIGHTS)}
"""Kinds that are usual under the names of another."""
_PICKLES = (".pkl", ".pickle", ".joblib")


def format_of_id(text: str) -> tuple[Format, str] | None:
    """Return the kind of ``timm:``, ``hf:`` and ``python:`` and what follows; None for the id of a shipped detector."""
    prefix, colon, place = text.partition(":")
    return (_BY_PREFIX[prefix], place) if colon and prefix in _BY_PREFIX else None


class Found(NamedTuple):
    """What kind a file or folder is, and what is told where its name says otherwise."""

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
    suffix = INDEX if path.name.endswith(INDEX) else path.suffix.lower()
    by_name, by_content = _BY_SUFFIX.get(suffix), _format_of_content(path, text)
    if by_content is not None:
        same = by_name is None or by_content in (by_name, *_UNDER_ONE_NAME.get(by_name.written, ()))
        is_told = not same or (by_name is None and suffix not in _PICKLES)
        is_told |= (
            by_content is WEIGHTS and (suffix == ".safetensors") != is_safetensors(path) and suffix != INDEX
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
        known = ", ".join(sorted(_BY_SUFFIX))
        raise UserError(f"'{text}' is no file of a detector", hint=f"known are {known}")
    return Found(by_name)


def _format_of_folder(path: Path, text: str) -> Format:
    config = path / "config.json"
    if not config.is_file():
        index = next(iter(sorted(path.glob(f"*{INDEX}"))), None)
        hint = "give the file of the weights" if index is None else f"give {index.name} in it, with arch:"
        raise UserError(f"'{text}' is a folder without config.json", hint=hint)
    return TIMM if b'"architecture"' in beginning(config, LARGEST_TEXT) else TRANSFORMERS


def _content_text(path: Path, kind: Format) -> str:
    if kind is WEIGHTS:
        return "safetensors" if is_safetensors(path) else "weights of torch or numpy"
    return kind.what


_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin."""


def _format_of_content(path: Path, text: str) -> Format | None:
    """Return the kind that the first bytes and the names in an archive show, None where they show nothing."""
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
        return KERAS
    if is_safetensors(path) or start.startswith(_LEGACY_TORCH):
        return WEIGHTS
    if start.startswith(b"PK\x03\x04"):
        return _format_of_archive(path)
    # A protobuf message that begins with a small version and goes on with a text or a graph.
    if start[:1] == b"\x08" and start[1] < 32 and start[2] in (0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42):
        return ONNX
    return None


def _format_of_archive(path: Path) -> Format | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    if "config.json" in names and {"metadata.json", "model.weights.h5"} & names:
        return KERAS
    if "schema.json" in names:
        return SKOPS
    inner = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in inner or "archive_format" in inner or all(name.endswith(".npy") for name in names):
        return _BY_CONTENT[file_kind(path)]
    return None
