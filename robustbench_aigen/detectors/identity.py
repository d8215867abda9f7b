"""Hashes of what detectors are loaded from."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustbench_aigen.errors import UserError
from robustbench_aigen.files import sha256_of_file


def file_hash(file: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return sha256_of_file(file)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error


def files_hash(files: Iterable[Path]) -> str:
    """Return one sha256 of several files, by their names and contents, in the order of their names."""
    digest = sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name} {file_hash(file)}\n".encode())
    return digest.hexdigest()


def _values(packed: object) -> object:
    """Return what stands for packed weights, all their values included."""
    if isinstance(packed, Tensor):
        numbers = packed.dequantize() if packed.is_quantized else packed
        return sha256(
            numbers.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        ).hexdigest()
    if isinstance(packed, list | tuple):
        return [_values(each) for each in packed]
    return packed


def network_hash(network: nn.Module, *sources: str) -> str:
    """Return the sha256 of some source code and of all weights and buffers of a network."""
    digest = sha256()
    for source in sources:
        digest.update(source.encode() + b"\0")
    for name, tensor in sorted(network.state_dict().items()):
        if is_lazy(tensor):
            raise UserError(
                f"the weights {name} of the network have no shape yet (a lazy module)",
                hint="call the network once in the factory, and load its weights after that",
            )
        if not isinstance(tensor, Tensor):
            # Packed weights of quantised layers.
            digest.update(f"{name} {_values(tensor)!r}".encode())
            continue
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
