"""Folders of a model hub: local ones, or downloaded."""

from pathlib import Path

from safetensors import safe_open

from robustbench_aigen.detectors.formats.request import Request
from robustbench_aigen.detectors.formats.sharding import INDEX, shards_of
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library

_WANTED = ["*.json", "*.safetensors", "*.bin", "*.py"]


def model_folder(request: Request, prefix: str, extra: str) -> Path:
    """Return the folder of a model: the one at the request's place, or the hub's of that name, downloaded.

    Raises
    ------
    UserError
        If there is neither, or the hub cannot be reached.
    """
    if request.path.is_dir():
        return request.path
    place = request.place
    if place.count("/") != 1 or place.startswith((".", "/", "~")):
        raise UserError(
            f"'{prefix}{place}' is neither a folder nor the id of a hub",
            hint=f"looked for {request.path}; an id of a hub is ORGANISATION/NAME",
        )
    hub = import_library("huggingface_hub", extra=extra, what=f"'{prefix}{place}'")
    try:
        return Path(hub.snapshot_download(place, allow_patterns=_WANTED))
    except Exception as error:  # The hub's client has its own errors and those of two HTTP libraries.
        raise UserError(
            f"'{prefix}{place}' cannot be downloaded: {first_line(error)}",
            hint=f"there is no local folder '{place}' either; download the model elsewhere and give its folder",
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a model's folder that decide what it computes: settings, weights, all shards, its own code.

    Raises
    ------
    UserError
        If a shard that an index names is missing.
    """
    files = {
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix in (".json", ".safetensors", ".bin", ".py")
    }
    for index in [file for file in files if file.name.endswith(INDEX)]:
        files.update(shards_of(index))
    return sorted(files)


_HALF = {"F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8", "F8_E5M2": "float8", "F64": "float64"}


def stored_precision(folder: Path) -> tuple[str, ...]:
    """Return a notice on stored precisions other than float32, from safetensors files only."""
    kinds = set()
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                kinds |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    named = sorted({_HALF[kind] for kind in kinds if kind in _HALF})
    return (f"stored in {' and '.join(named)}, computed in float32",) if named else ()
