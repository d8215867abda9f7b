"""The same network in fewer operations: what a rewriting is, and strided stems unshuffled.

A rewriting takes a network in evaluation mode and returns another, or the one it was given where there is nothing
to do. What comes out is the same function up to round-off; the caller compares. The weights of what is new are
computed from those of the modules that it stands for, and computed again when these have changed.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class Rewritten:
    """A module whose weights are computed from those of its sources.

    The sources are no part of the network: a tuple hides them from :class:`torch.nn.Module`.
    """

    _sources: tuple[nn.Module, ...]

    def refresh(self) -> None:
        """Compute the weights from the sources' present ones."""
        raise NotImplementedError


def rewritten_modules(network: nn.Module) -> list[Rewritten]:
    """Return the rewritten modules of a network, sources first, in the order for :meth:`Rewritten.refresh`."""
    found: dict[int, Rewritten] = {}

    def visit(module: nn.Module) -> None:
        if isinstance(module, Rewritten) and id(module) not in found:
            for source in module._sources:  # noqa: SLF001  One mechanism.
                visit(source)
            found[id(module)] = module

    for module in network.modules():
        visit(module)
    return list(found.values())


def unshuffle_stems(network: nn.Module) -> nn.Module:
    """Replace strided convolutions of the three colours by :class:`UnshuffledConvolution`."""
    stems = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and UnshuffledConvolution.takes(module)
    }
    if not stems:
        return network
    # The module objects are new, so that those of the network stay where they are; the weights are the same.
    changed = with_the_same_weights(network)
    for name, module in stems.items():
        changed.set_submodule(name, UnshuffledConvolution(module))
    return changed


def with_the_same_weights(network: nn.Module) -> nn.Module:
    """Return a copy of a network's modules that shares its parameters and buffers, and those of its sources."""
    modules = [network, *(source for module in rewritten_modules(network) for source in module._sources)]  # noqa: SLF001  One mechanism.
    shared = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    return deepcopy(network, {id(tensor): tensor for tensor in shared})


class UnshuffledConvolution(nn.Module, Rewritten):
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
        self._sources = (original,)
        self.stride, self.kernel = original.stride[0], original.kernel_size
        self.padding = cast(tuple[int, int], original.padding)
        # Zeros before and after the kernel bring its taps onto the grid of the stride.
        self.before = [-padding % self.stride for padding in self.padding]
        after = [-(k + b) % self.stride for k, b in zip(self.kernel, self.before, strict=True)]
        self._edges = (self.before[1], after[1], self.before[0], after[0])
        self.weight = nn.Parameter(self._folded(), requires_grad=False)
        self.bias = original.bias

    def _folded(self) -> Tensor:
        original = cast(nn.Conv2d, self._sources[0])
        weight = functional.pad(original.weight.detach(), self._edges)
        self.taps = weight.shape[2:]
        outputs, inputs, height, width = weight.shape
        rows, columns = height // self.stride, width // self.stride
        blocks = weight.view(outputs, inputs, rows, self.stride, columns, self.stride)
        folded = blocks.permute(0, 1, 3, 5, 2, 4).reshape(outputs, inputs * self.stride**2, rows, columns)
        return folded.contiguous()

    @torch.no_grad()
    def refresh(self) -> None:
        """Fold again; the bias is the original's own."""
        self.weight.copy_(self._folded())

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
