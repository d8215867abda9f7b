"""Weights with a card that the loader reads, metrics, learning curves and ROC points, each file whole or not there."""

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
from robustbench_aigen.engine.store import write_atomically


def encode_weights(network: nn.Module, *, half: bool) -> bytes:
    """Return a network's weights as safetensors.

    Parameters
    ----------
    network
        Whose state is stored, in the ordinary memory layout.
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


def write_weights(file: Path, content: bytes, card: Mapping[str, Any]) -> None:
    """Write encoded weights, and their card beside them.

    The weights come last: where they are, their card is there, and weights of an earlier training do not fit its
    hash.
    """
    write_json(file.with_suffix(".json"), {**card, "sha256": sha256(content).hexdigest()})
    write_atomically(file, content)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    write_atomically(file, (json.dumps(content, indent=2) + "\n").encode())


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Write a CSV file."""
    write_atomically(file, csv_of(table).encode())
