"""Quantised ONNX models: the graph of a differentiable twin, and the network that judges on the integers.

Quantised operators (``QLinearConv`` and the like) become [dequantise, operator, quantise]; weights are dequantised.
onnxruntime's own operators of the domain ``com.microsoft`` are described in its ``docs/ContribOperators.md``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.formats.wrappers import BlackBox
from robustbench_aigen.detectors.outputs import LARGEST_PROBABILITY, LEAST_PROBABILITY

Attributes = Mapping[str, Any]

_UNARY = {
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearSoftmax": "Softmax",
}
"""Operators of (x, its scale, its zero point, scale and zero point of the result)."""
_BINARY = {"QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearMatMul": "MatMul"}
"""Operators of (a, scale, zero point, b, scale, zero point, scale and zero point of the result)."""
_OTHERS = ("QLinearConv", "QGemm", "QLinearConcat")
_WITHOUT_A_CHANGE = ("QuantizeLinear", "DequantizeLinear", "Identity")
"""Operators that may follow a final sigmoid; others, such as a reshape, change which number belongs to which image."""
_KEPT = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")


def is_quantised(model: Any) -> bool:
    """Whether a model computes with quantised numbers."""
    known = {*_UNARY, *_BINARY, *_OTHERS, *_KEPT}
    return any(node.op_type in known for node in model.graph.node)


class QuantisedNetwork(nn.Module):
    """A quantised model whose answers are onnxruntime's, and whose gradients are those of a twin in torch.

    The twin has the dequantised weights, rounds as the model does, and passes gradients straight through the rounding
    (Bengio et al. 2013, arXiv:1308.3432) and through the limits of the integers, but for a lower limit of zero, which
    is a ReLU.

    Parameters
    ----------
    model
        The quantised model: scores, and no gradients.
    twin
        The same function in torch, up to the order of roundings.
    before_sigmoid
        Whether the twin leaves out the sigmoid that the model ends in: quantised probabilities are often exactly 0,
        where their log-odds have no gradient.
    """

    def __init__(self, model: BlackBox, twin: nn.Module, *, before_sigmoid: bool = False) -> None:
        super().__init__()
        self.model, self.twin, self.before_sigmoid = model, twin, before_sigmoid

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's numbers for normalised images."""
        if _TWIN_ANSWERS.get():
            alone: Tensor = self.twin(images)
            return alone.sigmoid() if self.before_sigmoid else alone
        answer: Tensor = self.model(images)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return answer
        smooth = self.twin(images)
        answer = answer.view_as(smooth)
        if self.before_sigmoid:
            through: Tensor = _ProbabilityOf.apply(smooth, answer)
            return through
        return smooth + (answer - smooth).detach()


class _ProbabilityOf(torch.autograd.Function):
    """Probabilities as a model answers them, with the gradient of a sigmoid at their own log-odds.

    So the gradient of the log-odds, which attacks follow, is that of the twin's logits, also where a probability was
    rounded to 0 or 1.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, answer: Tensor) -> Tensor:
        del logits
        probability = answer.clamp(LEAST_PROBABILITY, LARGEST_PROBABILITY)
        ctx.save_for_backward(probability)
        return probability

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (probability,) = ctx.saved_tensors
        return gradients[0] * probability * (1 - probability), None


def has_twin(detector: nn.Module) -> bool:
    """Whether a part of a detector is a quantised model with a twin."""
    return any(isinstance(module, QuantisedNetwork) for module in detector.modules())


_TWIN_ANSWERS = ContextVar("twin answers", default=False)


@contextmanager
def twins_answer() -> Iterator[None]:
    """Let the twins of quantised models answer in their places, in this thread."""
    token = _TWIN_ANSWERS.set(True)
    try:
        yield
    finally:
        _TWIN_ANSWERS.reset(token)


def twin_graph(onnx: Any, model: Any) -> Any:
    """Return a model of floats and rounding that computes what a quantised model does, and that converts to torch.

    Raises
    ------
    NotImplementedError
        For a quantised operator that is not known.
    """
    changed = deepcopy(model)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    for node in changed.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    graph = _Graph(onnx, constants)
    for node in changed.graph.node:
        graph.add(node)
    del changed.graph.node[:]
    changed.graph.node.extend(graph.nodes)
    changed.graph.initializer.extend(graph.initializers)
    return changed


def logits_before_sigmoid(model: Any) -> str | None:
    """Return the name of the values whose sigmoid is a twin's only output; None if it ends otherwise."""
    if len(model.graph.output) != 1:
        return None
    made_by = {name: node for node in model.graph.node for name in node.output}
    name = model.graph.output[0].name
    while (node := made_by.get(name)) is not None and node.op_type in _WITHOUT_A_CHANGE:
        name = node.input[0]
    return str(node.input[0]) if node is not None and node.op_type == "Sigmoid" else None


class _Graph:
    """The nodes of a twin, in order."""

    def __init__(self, onnx: Any, constants: Mapping[str, Any]) -> None:
        self.onnx, self.constants = onnx, constants
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._made = 0

    def add(self, node: Any) -> None:
        """Add a node of the model, as the nodes that it means."""
        inputs, result = list(node.input), node.output[0]
        attributes = {each.name: self.onnx.helper.get_attribute_value(each) for each in node.attribute}
        kind = node.op_type
        if kind == "DequantizeLinear" and all(name in self.constants for name in inputs if name):
            self._constant(result, _dequantised([self.constants.get(name) for name in inputs], attributes))
        elif kind in _UNARY:
            if attributes.pop("channels_last", 0):
                raise NotImplementedError(f"{kind} with the channels last")
            self._quantised(_UNARY[kind], [self._floats(inputs[:3])], inputs[3:], result, attributes)
        elif kind in _BINARY:
            both = [self._floats(inputs[:3]), self._floats(inputs[3:6])]
            self._quantised(_BINARY[kind], both, inputs[6:], result, attributes)
        elif kind in ("QLinearConv", "QGemm"):
            self._weighted(kind, inputs, result, attributes)
        elif kind == "QLinearConcat":
            parts = [self._floats(inputs[first : first + 3]) for first in range(2, len(inputs), 3)]
            self._quantised("Concat", parts, inputs[:2], result, attributes)
        elif kind in _KEPT:
            # Also those of onnxruntime's own domain.
            self._node(kind, inputs, list(node.output), attributes)
        elif kind.startswith(("QLinear", "QAttention", "QEmbed")) or node.domain == "com.microsoft":
            raise NotImplementedError(f"the operator {kind}")
        else:
            self.nodes.append(node)

    def _weighted(self, kind: str, inputs: list[str], result: str, attributes: Attributes) -> None:
        """Add a convolution or a product with weights, and a bias in units of both scales."""
        if attributes.get("alpha", 1.0) != 1.0:
            raise NotImplementedError(f"{kind} with alpha")
        place = 6 if kind == "QGemm" else 8
        scale = inputs[7:9] if kind == "QGemm" else inputs[6:8]
        axis = 1 if kind == "QGemm" and not attributes.get("transB") else 0
        image, weight = self._floats(inputs[:3]), self._floats(inputs[3:6], axis=axis)
        bias = (
            [self._bias(inputs[place], inputs[1], inputs[4])]
            if inputs[place : place + 1] not in ([], [""])
            else []
        )
        plain = "Gemm" if kind == "QGemm" else "Conv"
        self._quantised(plain, [image, weight, *bias], scale, result, attributes)

    def _quantised(
        self, kind: str, inputs: list[str], scale: Sequence[str], result: str, attributes: Attributes
    ) -> None:
        """Add an operator of floats, and the quantisation of its result; without a scale it stays a float."""
        if not [name for name in scale if name]:
            self._node(kind, inputs, [result], attributes)
            return
        self._node(
            "QuantizeLinear", [self._node(kind, inputs, [self._name()], attributes), *scale], [result], {}
        )

    def _floats(self, quantised: Sequence[str], axis: int = 1) -> str:
        """Add the dequantisation of some values: their name, and those of scale and zero point."""
        inputs = [name for name in quantised if name]
        if all(name in self.constants for name in inputs):
            return self._constant(
                self._name(), _dequantised([self.constants[name] for name in inputs], {"axis": axis})
            )
        return self._node("DequantizeLinear", inputs, [self._name()], {"axis": axis})

    def _bias(self, bias: str, scale: str, weight_scale: str) -> str:
        """Return a bias of whole numbers, in units of both scales, as floats."""
        if not all(name in self.constants for name in (bias, scale, weight_scale)):
            raise NotImplementedError("a bias that is no constant")
        unit = self.constants[scale].astype(np.float64) * self.constants[weight_scale].astype(np.float64)
        return self._constant(self._name(), (self.constants[bias] * unit.reshape(-1)).astype(np.float32))

    def _constant(self, name: str, values: Any) -> str:
        self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, inputs: list[str], outputs: list[str], attributes: Attributes) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, outputs, self._name(), **attributes))
        return outputs[0]

    def _name(self) -> str:
        self._made += 1
        return f"twin_{self._made}"


def _dequantised(values: Sequence[Any], attributes: Attributes) -> Any:
    """Return constants as float32 numbers."""
    whole, scale = values[0].astype(np.float32), values[1].astype(np.float32)
    zero = np.zeros(1, np.float32) if len(values) < 3 or values[2] is None else values[2].astype(np.float32)
    return (whole - _along(zero, whole, attributes)) * _along(scale, whole, attributes)


def _along(parameter: Any, values: Any, attributes: Attributes) -> Any:
    """Shape a number, or one for each channel, so that it is broadcast over values."""
    if attributes.get("block_size", 0):
        raise NotImplementedError("quantisation in blocks")
    if parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * values.ndim
    shape[attributes.get("axis", 1)] = -1
    return parameter.reshape(shape)


def _parameter(parameter: Tensor, values: Tensor, attributes: Attributes) -> Tensor:
    if parameter.numel() == 1:
        return parameter.reshape(()).float()
    shape = [1] * values.dim()
    shape[attributes.get("axis", 1)] = -1
    return parameter.reshape(shape).float()


def _rounded(values: Tensor) -> Tensor:
    return values + (values.round() - values).detach()


def _quantize(attributes: Attributes, values: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    if attributes.get("output_dtype") or (zero is not None and zero.is_floating_point()):
        raise NotImplementedError("quantisation to a type other than its zero point's")
    kind = torch.uint8 if zero is None else zero.dtype
    limits = torch.iinfo(kind)
    offset = 0 if zero is None else _parameter(zero, values, attributes)
    whole = _rounded(values / _parameter(scale, values, attributes)) + offset
    limited = whole.clamp(limits.min, limits.max)
    # A range that begins at zero often is a fused ReLU. Any other limit is the range of some calibration images: a
    # gradient of zero beyond it would hide from an attack where to go.
    is_floor = torch.as_tensor(offset, device=whole.device) <= limits.min
    passed = torch.where(is_floor, whole.clamp(min=limits.min), whole)
    return passed + (limited - passed).detach()


def _dequantize(attributes: Attributes, values: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    offset = 0 if zero is None else _parameter(zero, values, attributes)
    return (values.float() - offset) * _parameter(scale, values, attributes)


def _dynamic_quantize(attributes: Attributes, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    del attributes
    low, high = values.detach().amin().clamp(max=0), values.detach().amax().clamp(min=0)
    # As onnxruntime, for a tensor of zeros.
    scale = torch.where(high > low, (high - low) / 255, torch.ones_like(high))
    zero = (-low / scale).round().clamp(0, 255)
    return (_rounded(values / scale) + zero).clamp(0, 255), scale, zero


def _matmul_integer(
    attributes: Attributes, a: Tensor, b: Tensor, zero_a: Tensor | None = None, zero_b: Tensor | None = None
) -> Tensor:
    del attributes
    left = (
        a.float()
        if zero_a is None
        else a.float() - (zero_a.float()[:, None] if zero_a.dim() else zero_a.float())
    )
    right = b.float() if zero_b is None else b.float() - zero_b.float()
    return left @ right


def _conv_integer(
    attributes: Attributes, x: Tensor, w: Tensor, zero_x: Tensor | None = None, zero_w: Tensor | None = None
) -> Tensor:
    if attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise NotImplementedError("ConvInteger with auto_pad")
    images = x.float() if zero_x is None else x.float() - zero_x.float()
    weights = w.float() if zero_w is None else w.float() - _parameter(zero_w, w, {"axis": 0})
    count = w.dim() - 2
    pads = attributes.get("pads", [0] * (2 * count))
    edges = [pads[place + side * count] for place in reversed(range(count)) for side in (0, 1)]
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[count - 1]
    return convolve(
        functional.pad(images, edges),
        weights,
        stride=tuple(attributes.get("strides", [1] * count)),
        dilation=tuple(attributes.get("dilations", [1] * count)),
        groups=attributes.get("group", 1),
    )


OPERATORS: dict[str, tuple[int, Callable[..., Any]]] = {
    "QuantizeLinear": (10, _quantize),
    "DequantizeLinear": (10, _dequantize),
    "DynamicQuantizeLinear": (11, _dynamic_quantize),
    "MatMulInteger": (10, _matmul_integer),
    "ConvInteger": (10, _conv_integer),
}
"""Operator: the first version that the function is right for, and the function; whole numbers are stored as floats."""
