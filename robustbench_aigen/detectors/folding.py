"""Batch norms in evaluation mode, folded into the layer before or after them."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from robustbench_aigen.detectors.mean_in_tiles import MeanInTiles
from robustbench_aigen.detectors.rewriting import Rewritten


class _Tracer(fx.Tracer):
    """Leaves in one piece what is rewritten already, and what decides by the size of images."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Rewritten | MeanInTiles) or super().is_leaf_module(m, module_qualified_name)


def _traced(network: nn.Module) -> fx.GraphModule | None:
    """Trace a network that has batch norms; None where it has none or cannot be traced."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return None
    try:
        return fx.GraphModule(network, _Tracer().trace(network))
    except Exception:  # noqa: BLE001  Tracing fails in many ways; the network as it is has the same gradients.
        return None


def fold_batch_norms_backwards(network: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution right before it, where the network can be traced."""
    traced = _traced(network)
    if traced is None:
        return network
    modules, found = dict(traced.named_modules()), False
    for node in traced.graph.nodes:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        before = node.args[0] if isinstance(norm, nn.BatchNorm2d) else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        convolution = modules[str(before.target)]
        has_statistics = isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
        is_called_once = _calls(traced, before) == _calls(traced, node) == 1
        if isinstance(convolution, nn.Conv2d) and has_statistics and is_called_once:
            traced.set_submodule(
                str(before.target), FoldedConvolution(convolution, cast(nn.BatchNorm2d, norm))
            )
            traced.set_submodule(str(node.target), nn.Identity())
            found = True
    return traced if found else network


def _calls(traced: fx.GraphModule, node: fx.Node) -> int:
    return sum(other.op == "call_module" and other.target == node.target for other in traced.graph.nodes)


class FoldedConvolution(nn.Conv2d, Rewritten):
    """A convolution with the batch norm after it inside, in evaluation mode."""

    def __init__(self, original: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        # On the meta device no random numbers are drawn for weights that are replaced at once.
        super().__init__(
            original.in_channels,
            original.out_channels,
            cast(tuple[int, int], original.kernel_size),
            cast(tuple[int, int], original.stride),
            cast(tuple[int, int], original.padding),
            cast(tuple[int, int], original.dilation),
            original.groups,
            bias=True,
            padding_mode=original.padding_mode,
            device="meta",
        )
        self.weight = nn.Parameter(torch.empty_like(original.weight), requires_grad=False)
        self.bias = nn.Parameter(original.weight.new_empty(original.out_channels), requires_grad=False)
        self._sources = (original, norm)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold again."""
        original, norm = cast(tuple[nn.Conv2d, nn.BatchNorm2d], self._sources)
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        weight, bias = fuse_conv_bn_weights(
            original.weight, original.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        self.weight.copy_(weight)
        cast(Tensor, self.bias).copy_(bias)


_COMMUTING = (nn.Dropout, nn.Identity, nn.AdaptiveAvgPool2d)
"""Modules that commute with an affine map of each channel in evaluation mode, for any sign."""


def fold_batch_norms_forwards(network: nn.Module) -> nn.Module:
    """Fold batch norms into the convolution or linear layer after them, for networks with [conv, ReLU, batch norm].

    The scale goes into the weights. The shift, which zero padding cuts off at the edges, becomes a constant map that
    is added to the result. In between may stand pooling (max pooling only where every scale is positive) and
    flattening.
    """
    traced = _traced(network)
    if traced is None:
        return network
    modules, found = dict(traced.named_modules()), False
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None or _calls(traced, node) > 1:
            continue
        after = _layer_after(node, modules)
        if after is not None and _calls(traced, after.node) == 1:
            affine = Affine(norm, only_positive=after.is_behind_max_pooling)
            layer = modules[str(after.node.target)]
            absorbing = (
                ShiftedConvolution(layer, affine)
                if isinstance(layer, nn.Conv2d)
                else ShiftedLinear(cast(nn.Linear, layer), affine)
            )
            traced.set_submodule(str(after.node.target), absorbing)
            traced.set_submodule(str(node.target), affine)
            found = True
    return traced if found else network


class _Absorbing(NamedTuple):
    node: fx.Node
    is_behind_max_pooling: bool


def _layer_after(node: fx.Node, modules: dict[str, nn.Module]) -> _Absorbing | None:
    """Return the layer that a batch norm can be folded into."""
    is_flat, is_behind_max_pooling = False, False
    while len(node.users) == 1:
        node = next(iter(node.users))
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d):
            plain = module.groups == 1 and module.padding_mode == "zeros" and not is_flat
            is_taken = plain and isinstance(module.padding, tuple)
            return _Absorbing(node, is_behind_max_pooling) if is_taken else None
        if isinstance(module, nn.Linear):
            return _Absorbing(node, is_behind_max_pooling) if is_flat else None
        if isinstance(module, nn.Flatten) and module.start_dim == 1:
            is_flat = True
        elif isinstance(module, nn.MaxPool2d):
            is_behind_max_pooling = True
        elif not isinstance(module, _COMMUTING):
            return None
    return None


class Affine(nn.Module, Rewritten):
    """A batch norm in evaluation mode, left to the layer after it where it can be.

    Parameters
    ----------
    norm
        The batch norm that this layer replaces.
    only_positive
        Whether only positive scales can be taken through what is in between. With others, which training may bring,
        the map is applied here and the layer after it absorbs nothing.
    """

    def __init__(self, norm: nn.BatchNorm2d, *, only_positive: bool) -> None:
        super().__init__()
        self._sources, self._only_positive = (norm,), only_positive
        self.register_buffer("scale", torch.empty_like(cast(Tensor, norm.running_mean)))
        self.register_buffer("shift", torch.empty_like(cast(Tensor, norm.running_mean)))
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute scale and shift again, and choose the layer that applies them."""
        norm = cast(nn.BatchNorm2d, self._sources[0])
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        weight = torch.ones_like(mean) if norm.weight is None else norm.weight
        scale = weight / (variance + norm.eps).sqrt()
        cast(Tensor, self.scale).copy_(scale)
        cast(Tensor, self.shift).copy_((0 if norm.bias is None else norm.bias) - mean * scale)
        self.is_absorbed = not self._only_positive or bool((scale > 0).all())

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """Return the scale and the shift of each channel that the layer after it applies."""
        scale, shift = cast(Tensor, self.scale), cast(Tensor, self.shift)
        return (scale, shift) if self.is_absorbed else (torch.ones_like(scale), torch.zeros_like(shift))

    def forward(self, images: Tensor) -> Tensor:
        """Map N×C×H×W images, or leave them as they are."""
        if self.is_absorbed:
            return images
        scale, shift = cast(Tensor, self.scale), cast(Tensor, self.shift)
        return images * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


class ShiftedLinear(nn.Module, Rewritten):
    """A linear layer on flattened channels with the affine map of the channels before it inside."""

    def __init__(self, original: nn.Linear, affine: Affine) -> None:
        super().__init__()
        self._sources = (original, affine)
        self.weight = nn.Parameter(torch.empty_like(original.weight), requires_grad=False)
        self.bias = nn.Parameter(original.weight.new_empty(original.out_features), requires_grad=False)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold again."""
        original, affine = cast(tuple[nn.Linear, Affine], self._sources)
        scale, shift = affine.absorbed()
        positions = original.in_features // len(scale)
        scale, shift = scale.repeat_interleave(positions), shift.repeat_interleave(positions)
        self.weight.copy_(original.weight * scale)
        self.bias.copy_(original.weight @ shift + (0 if original.bias is None else original.bias))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×features."""
        return functional.linear(features, self.weight, self.bias)


class ShiftedConvolution(nn.Module, Rewritten):
    """A convolution, zero-padded, with the affine map of its input channels inside."""

    def __init__(self, original: nn.Conv2d, affine: Affine) -> None:
        super().__init__()
        self._sources = (original, affine)
        self._settings: dict[str, Any] = {
            "stride": original.stride, "padding": original.padding, "dilation": original.dilation,
        }  # fmt: skip
        self.weight = nn.Parameter(torch.empty_like(original.weight), requires_grad=False)
        self._maps: dict[tuple[int, int, torch.dtype, torch.memory_format], Tensor] = {}
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold again."""
        original, affine = cast(tuple[nn.Conv2d, Affine], self._sources)
        scale, _ = affine.absorbed()
        self.weight.copy_(original.weight * scale.view(1, -1, 1, 1))
        self._maps.clear()

    def forward(self, images: Tensor) -> Tensor:
        """Convolve N×C×H×W images."""
        result = functional.conv2d(images, self.weight, None, **self._settings)
        height, width = images.shape[2:]
        # Laid out as what it is added to: across layouts an addition takes ten times as long.
        is_last = result.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if is_last else torch.contiguous_format
        key = (height, width, result.dtype, layout)
        if key not in self._maps:
            original, affine = cast(tuple[nn.Conv2d, Affine], self._sources)
            with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
                _, shift = affine.absorbed()
                constant = shift.view(1, -1, 1, 1).expand(1, -1, height, width).contiguous()
                shifted = functional.conv2d(constant, original.weight, original.bias, **self._settings)
                self._maps[key] = shifted.to(result.dtype).contiguous(memory_format=layout)
        return result.add_(self._maps[key])
