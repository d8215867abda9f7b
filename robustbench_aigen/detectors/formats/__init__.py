"""Loaders of detectors, one per kind of file; which is which."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.formats.checkpoint import file_kind
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.errors import UserError

Loader = Callable[[Request], Loaded | Detector]


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

    def load(self, request: Request) -> Loaded | Detector:
        """Load a detector of this kind; its module is imported now."""
        module, _, function = self.loader.partition(":")
        loader: Loader = getattr(import_module(f"{__name__}.{module}"), function)
        return loader(request)


WEIGHTS = Format(
    "FILE.safetensors, .pt, .pth, .ckpt, .bin with arch:",
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
    ".pt2": EXPORTED, ".onnx": ONNX, ".skops": SKOPS, ".keras": KERAS, ".h5": KERAS, ".hdf5": KERAS,
}  # fmt: skip
_BY_CONTENT = {"weights": WEIGHTS, "exported": EXPORTED, "torchscript": TORCHSCRIPT}
_PICKLES = (".pkl", ".pickle", ".joblib")


def format_of_id(text: str) -> tuple[Format, str] | None:
    """Return the kind of ``timm:``, ``hf:`` and ``python:`` and what follows; None for the id of a shipped detector."""
    prefix, colon, place = text.partition(":")
    return (_BY_PREFIX[prefix], place) if colon and prefix in _BY_PREFIX else None


def format_of_path(path: Path, text: str) -> Format:
    """Return the kind of a file or folder, by its name and, where that says too little, by its content.

    Raises
    ------
    UserError
        If it is of no kind that can be loaded.
    """
    if path.is_dir():
        if (path / "config.json").is_file():
            is_timm = '"architecture"' in (path / "config.json").read_text(encoding="utf-8")
            return TIMM if is_timm else TRANSFORMERS
        raise UserError(f"'{text}' is a folder without config.json", hint="give the file of the weights")
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise UserError(
            f"'{text}' is a pickle, which is not loaded",
            hint="save the pipeline with skops.io.dump(model, 'FILE.skops')",
        )
    if suffix not in _BY_SUFFIX:
        known = ", ".join(sorted(_BY_SUFFIX))
        raise UserError(f"'{text}' is no file of a detector", hint=f"known are {known}")
    known_format = _BY_SUFFIX[suffix]
    if known_format in (WEIGHTS, EXPORTED) and suffix != ".safetensors":
        return _BY_CONTENT[file_kind(path)] if known_format is WEIGHTS else EXPORTED
    return known_format
