"""Networks in float32, whatever they are stored in."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Kinds = Mapping[str, torch.dtype]
"""Types of parameters and buffers by their names."""


def other_kinds(network: nn.Module) -> Kinds:
    """Return the floating-point parameters and buffers that are not float32."""
    return {
        name: tensor.dtype
        for name, tensor in _tensors(network).items()
        if tensor.is_floating_point() and tensor.dtype != torch.float32
    }


def to_float32(network: nn.Module) -> str | None:
    """Turn a network into float32, in place; return what is told of it, None where it was float32 before."""
    kinds = other_kinds(network)
    if not kinds:
        return None
    network.float()
    named = sorted({str(kind).removeprefix("torch.") for kind in kinds.values()})
    return f"stored in {' and '.join(named)}, computed in float32"


def restore(network: nn.Module, kinds: Kinds) -> None:
    """Undo :func:`to_float32`, exactly: every value came from the type that it is put back into."""
    for name, tensor in _tensors(network).items():
        if name in kinds:
            tensor.data = tensor.data.to(kinds[name])


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def without_values(network: nn.Module) -> list[str]:
    """Return the names of a network's parameters and buffers that have a shape and no values."""
    return [name for name, tensor in _tensors(network).items() if tensor.is_meta]
