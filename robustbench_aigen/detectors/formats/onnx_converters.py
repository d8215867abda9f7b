"""ONNX operators that onnx2torch does not convert, as torch's exporter writes them from opset 18 on.

onnx2torch 1.5 ends at opset 17. Most operators changed since then by the element types that they allow: those are
converted as their last known version, provided that a node uses nothing that is new. The others are below. What
comes out is compared with onnxruntime by the loader.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import torch
from onnx import defs
from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY, OperationDescription, TConverter
from onnx2torch.onnx_graph import OnnxGraph
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.utils.common import OnnxToTorchModule, OperationConverterResult, onnx_mapping_from_node
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.formats.onnx_quantised import OPERATORS

Attributes = Mapping[str, Any]


class OnnxOperation(nn.Module, OnnxToTorchModule):  # type: ignore[misc]
    """A function of up to five inputs with the attributes of a node."""

    def __init__(self, function: Callable[..., Any], attributes: Attributes) -> None:
        super().__init__()
        self.function, self.attributes = function, dict(attributes)

    def forward(
        self,
        first: Tensor,
        second: Tensor | None = None,
        third: Tensor | None = None,
        fourth: Tensor | None = None,
        fifth: Tensor | None = None,
    ) -> Any:
        """Compute the operator; an input that a node leaves out is None."""
        inputs = [first, second, third, fourth, fifth]
        while inputs[-1] is None:
            inputs.pop()
        return self.function(self.attributes, *inputs)


def _reshape(attributes: Attributes, data: Tensor, shape: Tensor) -> Tensor:
    sizes = shape.tolist()
    if not attributes.get("allowzero", 0):
        sizes = [data.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return data.reshape(sizes)


def _gelu(attributes: Attributes, data: Tensor) -> Tensor:
    return functional.gelu(data, approximate=attributes.get("approximate", "none"))


def _swish(attributes: Attributes, data: Tensor) -> Tensor:
    return data * torch.sigmoid(attributes.get("alpha", 1.0) * data)


def _mish(attributes: Attributes, data: Tensor) -> Tensor:
    del attributes
    return functional.mish(data)


def _product(data: Tensor, axes: list[int], keep: bool) -> Tensor:
    # torch multiplies along one axis at a time; the last goes first, so that the others keep their numbers.
    for axis in sorted((axis % data.dim() for axis in axes), reverse=True):
        data = data.prod(axis, keepdim=keep)
    return data


_Reduction = Callable[[Tensor, list[int], bool], Tensor]
_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceMean": lambda data, axes, keep: data.mean(axes, keepdim=keep),
    "ReduceMax": lambda data, axes, keep: data.amax(axes, keepdim=keep),
    "ReduceMin": lambda data, axes, keep: data.amin(axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceL1": lambda data, axes, keep: data.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda data, axes, keep: torch.linalg.vector_norm(data, dim=axes, keepdim=keep),
    "ReduceSumSquare": lambda data, axes, keep: data.square().sum(axes, keepdim=keep),
    "ReduceLogSum": lambda data, axes, keep: data.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda data, axes, keep: data.logsumexp(axes, keepdim=keep),
}


def _reduce(
    reduction: _Reduction, attributes: Attributes, data: Tensor, axes: Tensor | None = None
) -> Tensor:
    chosen = [] if axes is None else axes.tolist()
    if not chosen and attributes.get("noop_with_empty_axes", 0):
        return data
    return reduction(data, chosen or list(range(data.dim())), bool(attributes.get("keepdims", 1)))


def _split(attributes: Attributes, data: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = attributes.get("axis", 0)
    if sizes is not None:
        return data.split(sizes.tolist(), dim=axis)
    # All parts are equal except the last, which has the remainder.
    return data.split(-(-data.shape[axis] // attributes["num_outputs"]), dim=axis)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(
    attributes: Attributes,
    data: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    amounts = pads.tolist()
    half = len(amounts) // 2
    places = range(data.dim()) if axes is None else [axis % data.dim() for axis in axes.tolist()]
    before, after = [0] * data.dim(), [0] * data.dim()
    for place, first, last in zip(places, amounts[:half], amounts[half:], strict=True):
        before[place], after[place] = first, last
    flat = [
        amount
        for ends in zip(reversed(before), reversed(after), strict=True)
        for amount in ends
    ]  # fmt: skip
    mode = _PAD_MODES[attributes.get("mode", "constant")]
    if mode == "constant":
        return functional.pad(data, flat, value=0.0 if value is None else float(value))
    return functional.pad(data, flat[: 2 * (data.dim() - 2)], mode=mode)


def _group_norm(attributes: Attributes, data: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.group_norm(data, attributes["num_groups"], scale, bias, attributes.get("epsilon", 1e-5))


def _rms_norm(attributes: Attributes, data: Tensor, scale: Tensor) -> Tensor:
    axes = list(range(attributes.get("axis", -1) % data.dim(), data.dim()))
    return (
        data * torch.rsqrt(data.square().mean(axes, keepdim=True) + attributes.get("epsilon", 1e-5)) * scale
    )


def _attention(
    attributes: Attributes, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    flat = query.dim() == 3
    if flat:
        heads = attributes["q_num_heads"], attributes["kv_num_heads"], attributes["kv_num_heads"]
        query, key, value = (
            part.unflatten(2, (count, -1)).transpose(1, 2)
            for part, count in zip((query, key, value), heads, strict=True)
        )
    result = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=bool(attributes.get("is_causal", 0)),
        scale=attributes.get("scale"), enable_gqa=key.shape[1] != query.shape[1],
    )  # fmt: skip
    return result.transpose(1, 2).flatten(2) if flat else result


def _cast_like(attributes: Attributes, data: Tensor, like: Tensor) -> Tensor:
    del attributes
    return data.to(like.dtype)


def _global_max_pool(attributes: Attributes, data: Tensor) -> Tensor:
    del attributes
    return data.amax(list(range(2, data.dim())), keepdim=True)


def _size(attributes: Attributes, data: Tensor) -> Tensor:
    del attributes
    return torch.tensor(data.numel(), device=data.device)


_OWN: dict[str, tuple[int, Callable[..., Any]]] = {
    "Reshape": (14, _reshape),  # onnx2torch refuses allowzero=1, which torch's exporter always writes.
    "Gelu": (20, _gelu),
    "Swish": (24, _swish),
    "Mish": (18, _mish),
    "Split": (18, _split),
    "Pad": (18, _pad),
    "GroupNormalization": (21, _group_norm),
    "RMSNormalization": (23, _rms_norm),
    "Attention": (23, _attention),
    "CastLike": (15, _cast_like),
    "GlobalMaxPool": (1, _global_max_pool),
    "Size": (1, _size),
    **OPERATORS,
    **{name: (18, partial(_reduce, reduction)) for name, reduction in _REDUCTIONS.items()},
}
"""Operator: the first version that the function is right for, and the function."""
_SEVERAL = ("Split", "DynamicQuantizeLinear")
"""Operators above that return several tensors."""
_ATTRIBUTES_WITHOUT_EFFECT = {("dilations", (1, 1))}
"""New attributes that may be written out at the value which means nothing."""


@cache
def register_converters() -> None:
    """Teach onnx2torch the operators above, and to take newer versions of those that it knows."""
    schemas = [schema for schema in defs.get_all_schemas_with_history() if not schema.domain]
    for schema in sorted(schemas, key=lambda schema: schema.since_version):
        description = OperationDescription("", schema.name, schema.since_version)
        first, function = _OWN.get(schema.name, (0, None))
        if function is not None and schema.since_version >= first:
            _CONVERTER_REGISTRY[description] = _own(function)
        elif description not in _CONVERTER_REGISTRY and (older := _newest_known(description)) is not None:
            _CONVERTER_REGISTRY[description] = _as_older(schema, older)


def _own(function: Callable[..., Any]) -> TConverter:
    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        del graph
        if len([name for name in node.output_values if name]) > 1 and node.operation_type not in _SEVERAL:
            raise NotImplementedError(f"{node.operation_type} with several outputs")
        return OperationConverterResult(
            OnnxOperation(function, node.attributes), onnx_mapping_from_node(node)
        )

    return convert


def _newest_known(description: OperationDescription) -> OperationDescription | None:
    known = [
        other
        for other in _CONVERTER_REGISTRY
        if other.domain == "" and other.operation_type == description.operation_type
    ]
    older = [other for other in known if other.version < description.version]
    return max(older, key=lambda other: other.version, default=None)


def _as_older(schema: defs.OpSchema, older: OperationDescription) -> TConverter:
    """Convert a node as an older version of its operator, if it uses nothing that came later."""
    converter = _CONVERTER_REGISTRY[older]
    known = defs.get_schema(older.operation_type, max_inclusive_version=older.version)

    def convert(node: OnnxNode, graph: OnnxGraph) -> OperationConverterResult:
        new = [
            name
            for name, value in node.attributes.items()
            if name not in known.attributes
            and not _is_default(schema, name, value)
            and (name, tuple(value) if isinstance(value, list) else value) not in _ATTRIBUTES_WITHOUT_EFFECT
        ]
        if new or len(node.input_values) > len(known.inputs):
            what = ", ".join(new) or "its inputs"
            raise NotImplementedError(f"{schema.name} of opset {schema.since_version} with {what}")
        result: OperationConverterResult = converter(node, graph)
        return result

    return convert


def _is_default(schema: defs.OpSchema, name: str, value: object) -> bool:
    default = schema.attributes[name].default_value
    return value in (default.i, default.f, default.s.decode()) if default.name else False
