"""A detector made ready for gradients: the same function, computed faster."""

from copy import deepcopy
from functools import lru_cache
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.numerics.precision import gradient_precision

_LARGE = 64
"""Pixels a side from which float32 convolutions run on channels-last tensors.

They pay at 224 pixels (1.2 times) and hardly at 32, where the plain layout gives the gradients of torchattacks to
the bit. Reduced-precision convolutions always run on channels-last tensors.
"""


@lru_cache(maxsize=16)
def prepare(detector: Detector, precision: Literal["fp32", "bf16"]) -> Detector:
    """Return a copy of a detector for gradients: batch norms folded, stem rewritten, memory laid out, precision set.

    Parameters
    ----------
    detector
        In evaluation mode and frozen; its weights do not change afterwards.
    precision
        Of convolutions and products. The resize, the normalisation and the logits are float32 either way.
    """
    size = detector.preprocessing.input_size
    channels_last = precision == "bf16" or size is None or min(size) >= _LARGE
    prepared = deepcopy(detector)
    prepared.network = _Prepared(_faster(detector), precision, channels_last=channels_last)
    prepared.eval()
    prepared.requires_grad_(False)
    return prepared


class _Prepared(nn.Module):
    def __init__(
        self, network: nn.Module, precision: Literal["fp32", "bf16"], *, channels_last: bool
    ) -> None:
        super().__init__()
        self.precision = precision
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self.layout) if channels_last else network

    def forward(self, images: Tensor) -> Tensor:
        with gradient_precision(self.precision, images.device):
            logits: Tensor = self.network(images.contiguous(memory_format=self.layout))
        return logits


def _faster(detector: Detector) -> nn.Module:
    """Return the network with batch norms folded and its stem rewritten, as far as it stays the same function."""
    network = deepcopy(detector.network)
    height, width = detector.preprocessing.input_size or (64, 64)
    device = cast(Tensor, detector.mean).device
    probe = torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0)).to(device)
    for rewrite in (_folded, _with_unshuffled_stem):
        changed = rewrite(network)
        if changed is network:
            continue
        with torch.no_grad():
            before, after = network(probe), changed(probe)
        if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())):
            network = changed
    return network


def _folded(network: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, where the network can be traced."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    try:
        return fuse(network)
    except Exception:  # noqa: BLE001  Tracing fails in many ways; the network as it is has the same gradients.
        return network


def _with_unshuffled_stem(network: nn.Module) -> nn.Module:
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
