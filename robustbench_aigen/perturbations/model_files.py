"""The files of a model of diffusers: where they are, and their hash. Without torch and diffusers."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.imports import import_library
from robustbench_aigen.stages.models import HUB
from robustbench_aigen.stages.stage import Perturbation, Stage

EXTRA = "diffusers"
_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors").fullmatch
"""Weights that diffusers and transformers load by default; files of a variant such as ``fp16`` are others."""
_SETTINGS = (".json", ".txt", ".model")
"""Settings, vocabularies and indices of shards."""
_WANTED = ("*.json", "*.txt", "*.model", "*model.safetensors", "*model-?????-of-?????.safetensors")

Signature = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of change of a model's files."""


def model_folder(model: str) -> Path:
    """Return the folder of a model, which the hub provides for names that begin with ``hf:``.

    Raises
    ------
    UserError
        If there is no such folder, or the hub cannot be reached.
    """
    folder = _downloaded(model) if model.startswith(HUB) else Path(model)
    if not folder.is_dir():
        raise UserError(
            f"model '{model}': there is no such folder",
            hint="give a folder that save_pretrained of diffusers wrote, or hf:ORG/NAME",
        )
    return folder


@cache
def _downloaded(model: str) -> Path:
    organisation, name, *inside = model.removeprefix(HUB).split("/")
    hub = import_library("huggingface_hub", extra=EXTRA, what=f"model '{model}'")
    below = f"{inside[0]}/" if inside else ""
    try:
        place = hub.snapshot_download(
            f"{organisation}/{name}", allow_patterns=[below + each for each in _WANTED]
        )
    except Exception as error:  # The hub's client has its own errors and those of its HTTP library.
        raise UserError(
            f"model '{model}' cannot be downloaded: {first_line(error)}",
            hint="download the model elsewhere, and give its folder",
        ) from error
    return Path(place, *inside)


def settings_of(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the content of a JSON file of a model; None if there is no such file.

    Raises
    ------
    UserError
        If the file is no JSON mapping.
    """
    file = folder / name
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{file}' cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"'{file}' is no mapping of settings")
    return content


def signature_of(folder: Path) -> Signature:
    """Return names, sizes and times of change of the files that decide what a model computes.

    These are settings and weights in the folder and in the folders of its components. Hidden files, pictures and
    descriptions are left out.
    """
    inside = [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    found = [
        (file, file.stat())
        for place in (folder, *inside)
        for file in sorted(place.iterdir())
        if file.is_file() and (file.suffix in _SETTINGS or _WEIGHTS(file.name))
    ]
    return tuple(
        (file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns) for file, status in found
    )


def model_sha256(model: str) -> str:
    """Return the sha256 of the names and contents of a model's files; not of their place.

    Raises
    ------
    UserError
        If there is no such model.
    """
    folder = model_folder(model)
    return _hashed(folder, signature_of(folder))


@lru_cache(maxsize=16)
def _hashed(folder: Path, signature: Signature) -> str:
    digest = sha256()
    for name, _, _ in signature:
        digest.update(f"{name}\0{sha256_of_file(folder / name)}\0".encode())
    return digest.hexdigest()


def models_of(stages: Iterable[Stage]) -> dict[str, str]:
    """Return the sha256 of every model that some stages compute with, by the model as recorded."""
    perturbations = [
        each for stage in stages for each in ((stage,) if isinstance(stage, Perturbation) else stage.through)
    ]
    return {model: model_sha256(model) for stage in perturbations for model in stage.models}


def by_content(values: Mapping[str, Any], models: Iterable[str]) -> dict[str, Any]:
    """Return the values of parameters with the sha256 of each model instead of its place."""
    known = set(models)
    return {
        name: model_sha256(value) if isinstance(value, str) and value in known else value
        for name, value in values.items()
    }
