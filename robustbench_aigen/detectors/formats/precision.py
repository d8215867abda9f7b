"""Conversion of networks to float32 from any stored precision."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

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
    """Turn a network into float32, in place; return a notice, or None if it was float32 before."""
    kinds = other_kinds(network)
    if not kinds:
        return None
    network.float()
    for module in network.modules():
        if isinstance(module, fx.GraphModule):
            _graph_to_float32(module)
    named = sorted({str(kind).removeprefix("torch.") for kind in kinds.values()})
    return f"stored in {' and '.join(named)}, computed in float32"


def _graph_to_float32(module: fx.GraphModule) -> None:
    """Turn the conversions in an exported graph into such to float32, and drop what asserts another type."""

    def converted(value: Any) -> Any:
        is_other = isinstance(value, torch.dtype) and value.is_floating_point
        return torch.float32 if is_other else value

    for node in list(module.graph.nodes):
        if "_assert_tensor_metadata" in str(node.target):
            module.graph.erase_node(node)
            continue
        node.args = fx.node.map_aggregate(node.args, converted)
        node.kwargs = fx.node.map_aggregate(node.kwargs, converted)
    module.recompile()


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
