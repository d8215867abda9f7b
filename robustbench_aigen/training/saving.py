"""Atomic writing of weights, cards, metrics, learning curves and ROC points."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save
from torch import nn

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.digests import DamagedFileError, read_sealed, sealed
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.files import sha256_of_file, write_atomically


def encode_weights(network: nn.Module, *, half: bool) -> bytes:
    """Return a network's weights as safetensors.

    Parameters
    ----------
    network
        The network whose state is stored, in the ordinary memory layout.
    half
        Whether floating-point values are stored as float16; the loader computes in float32 in either case.
    """
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value)
        .detach()
        .cpu()
        .clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    return save(tensors)


def write_weights(file: Path, content: bytes, card: Mapping[str, Any]) -> dict[str, str]:
    """Write encoded weights, and their card beside them; return the digest of the weights by their file's name.

    The weights are written last: if they exist, their card exists, and weights of an earlier training do not fit its
    hash.
    """
    digest = sha256(content).hexdigest()
    write_json(file.with_suffix(".json"), {**card, "sha256": digest})
    write_atomically(file, content, own=True)
    return {file.name: digest}


def write_json(file: Path, content: Mapping[str, Any], files: Mapping[str, str] | None = None) -> None:
    """Write a JSON file with its digest, and those of other files by their names."""
    text = json.dumps(sealed(content, files), indent=2)
    write_atomically(file, (text + "\n").encode(), own=True)


def read_json(file: Path, progress: Progress, consequence: str) -> dict[str, Any] | None:
    """Read a file of :func:`write_json`, and check the digests of the files that belong to it.

    Parameters
    ----------
    file
        Expected path of the file.
    progress
        Receives a line if the document or one of those files is damaged.
    consequence
        The consequence, for the message.

    Returns
    -------
    dict or None
        The document; None if it is missing or damaged.
    """
    if not file.exists() and not file.is_symlink():
        return None
    try:
        content, digests = read_sealed(file)
        for name, digest in digests.items():
            _check(file.with_name(name), digest)
    except DamagedFileError as error:
        progress.notice(f"{file.parent}: {error}; {consequence}")
        return None
    return content


def _check(file: Path, digest: str) -> None:
    try:
        found = sha256_of_file(file)
    except OSError as error:
        raise DamagedFileError(f"{file.name} cannot be read ({error.strerror})") from error
    if found != digest:
        raise DamagedFileError(f"{file.name} was changed after it was written")


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV file."""
    write_atomically(file, csv_of(table).encode(), own=True)
