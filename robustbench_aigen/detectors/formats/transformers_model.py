"""Image classifiers of transformers: ``hf:FOLDER`` as ``save_pretrained`` writes it, ``hf:ORGANISATION/NAME``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.formats.hub import model_folder, stored_precision, weight_files
from robustbench_aigen.detectors.formats.image_processor import differentiable_preprocessing
from robustbench_aigen.detectors.formats.request import Loaded, Request
from robustbench_aigen.detectors.formats.wrappers import GroupedLogits
from robustbench_aigen.detectors.identity import files_hash
from robustbench_aigen.detectors.outputs import meanings_of
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library
from robustbench_aigen.text import counted


def load_transformers(request: Request) -> Loaded:
    """Load an image classifier with the preprocessing of its own image processor.

    Raises
    ------
    UserError
        If it is no image classifier, brings code of its own and is not trusted, or its preprocessing is of a kind
        that cannot be made differentiable.
    """
    transformers = import_library("transformers", extra="hf", what=f"'hf:{request.place}'")
    folder = model_folder(request, "hf:", "hf")
    if not (folder / "config.json").is_file():
        raise UserError("is no folder of transformers: it has no config.json", file=folder)
    with _quiet(transformers):
        config = _from_folder(transformers.AutoConfig, folder, request)
        # Whatever the file says: what is computed at the start, and is in no file, is float32 then, too.
        kind = {"dtype" if hasattr(config, "dtype") else "torch_dtype": torch.float32}
        model = _from_folder(transformers.AutoModelForImageClassification, folder, request, **kind)
        metadata = _preprocessing(transformers, folder, request)
    metadata["outputs"] = "logits"
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    meanings = meanings_of(names)
    network: nn.Module = _Logits(model)
    if meanings.fake_index is not None:
        metadata["fake_index"] = meanings.fake_index
    elif len(names) > 2:
        if not meanings.fake:
            raise UserError(
                f"'hf:{request.place}' answers {counted(len(names), 'class', 'classes')}, and {'its name does' if len(names) == 1 else 'their names do'} not say which are "
                f"AI-generated: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
            )
        network = GroupedLogits(network, meanings.real, meanings.fake)
        metadata["fake_index"] = 1
    digest = files_hash(weight_files(folder))
    notes = stored_precision(folder)
    return Loaded(network, f"hf:{config.model_type}", digest, metadata, notes, libraries=("transformers",))


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def _from_folder(factory: Any, folder: Path, request: Request, **options: Any) -> Any:
    try:
        return factory.from_pretrained(
            folder, local_files_only=True, trust_remote_code=request.trust_code, **options
        )
    except Exception as error:  # What is wrong with a folder raises whatever its parts raise.
        reason = first_line(error)
        if "trust_remote_code" in str(error):
            request.need_trust("a model with code of its own", "give one of transformers' own architectures")
        raise UserError(f"cannot be loaded by transformers: {reason}", file=folder) from error


def _preprocessing(transformers: Any, folder: Path, request: Request) -> dict[str, Any]:
    if not (folder / "preprocessor_config.json").is_file():
        return {}
    processor = _from_folder(transformers.AutoImageProcessor, folder, request)
    return differentiable_preprocessing(processor, f"hf:{request.place}")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and advice of transformers out of the terminal."""
    logging = transformers.utils.logging
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()
