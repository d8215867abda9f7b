"""Means of local features over images of any size, in memory that does not grow with the size."""

from contextlib import nullcontext
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robustbench_aigen.detectors.borrowing import frozen, is_frozen

_AT_ONCE = 2**21
"""Pixels of the largest images that go through a network in one piece."""
_TILE = 512
"""Side of a tile in pixels, without what overlaps; a multiple of the strides."""


class _Span(NamedTuple):
    """Features ``first`` to ``last`` of a row or column, and the pixels ``start`` to ``end`` that they depend on."""

    first: int
    last: int
    start: int
    end: int


class MeanInTiles(nn.Module):
    """The mean over all positions of what a convolutional network computes of an image: N×C features.

    An image of more than two megapixels goes through the network in tiles that overlap by what a feature depends on.
    The features are those of the whole image, up to round-off. For gradients each tile is computed a second time
    (gradient checkpointing), so that the memory of the features is that of one tile.

    Parameters
    ----------
    body
        Maps N×3×H×W images to N×C×h×w features; its layers keep sizes or divide them, rounding up.
    stride
        Pixels between neighbouring features.
    reach
        Pixels on each side of its own that a feature depends on, at most; a multiple of the stride.
    """

    def __init__(self, body: nn.Module, stride: int, reach: int) -> None:
        super().__init__()
        self.body, self.stride, self.reach = body, stride, reach

    def forward(self, images: Tensor) -> Tensor:
        """Map N×3×H×W images to N×C means."""
        height, width = images.shape[-2:]
        if height * width <= _AT_ONCE:
            means: Tensor = self.body(images).mean(dim=(2, 3))
            return means
        rows, columns = self._spans(height), self._spans(width)
        sums = [self._sum(images, *spans) for spans in product(rows, columns)]
        return torch.stack(sums).sum(dim=0) / (rows[-1].last * columns[-1].last)

    def _spans(self, side: int) -> list[_Span]:
        total, step = -(-side // self.stride), _TILE // self.stride
        return [
            _Span(
                first,
                min(first + step, total),
                max(0, first * self.stride - self.reach),
                min(side, (first + step) * self.stride + self.reach),
            )
            for first in range(0, total, step)
        ]

    def _sum(self, images: Tensor, rows: _Span, columns: _Span) -> Tensor:
        """Return the sum of the features of a tile: N×C."""
        top, left = rows.first - rows.start // self.stride, columns.first - columns.start // self.stride

        # The second pass, in the backward pass, may come after a module was given back to its user.
        stays_frozen = is_frozen(self.body)

        def computed(images: Tensor) -> Tensor:
            seen = images[..., rows.start : rows.end, columns.start : columns.end]
            with frozen(self.body) if stays_frozen else nullcontext():
                features: Tensor = self.body(seen)
            own = features[
                ..., top : top + rows.last - rows.first, left : left + columns.last - columns.first
            ]
            return own.sum(dim=(2, 3))

        if not (torch.is_grad_enabled() and images.requires_grad):
            return computed(images)
        sums: Tensor = checkpoint(computed, images, use_reentrant=False)
        return sums


def hide_level(network: nn.Module, level: str) -> None:
    """Leave a prefix out of the names of a network's weights: its checkpoints were made without these modules.

    ``state_dict`` and ``load_state_dict`` know the names without the prefix alone.
    """
    network.register_state_dict_post_hook(_Shortened(level))
    network.register_load_state_dict_pre_hook(_Lengthened(level))


class _Shortened:
    def __init__(self, level: str) -> None:
        self.level = level

    def __call__(self, _: nn.Module, state: dict[str, Any], prefix: str, __: dict[str, Any]) -> None:
        for name in [name for name in state if name.startswith(prefix + self.level)]:
            state[prefix + name.removeprefix(prefix + self.level)] = state.pop(name)


class _Lengthened:
    def __init__(self, level: str) -> None:
        self.level = level

    def __call__(self, network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
        own = {
            name.partition(".")[0]
            for name, _ in network.get_submodule(self.level.rstrip(".")).named_children()
        }
        for name in [name for name in state if name.startswith(prefix)]:
            short = name.removeprefix(prefix)
            if short.partition(".")[0] in own:
                state[f"{prefix}{self.level}{short}"] = state.pop(name)
