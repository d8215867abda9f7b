"""The median of the neighbourhood of each pixel, with a fast gradient."""

from typing import Any

import torch
from torch import Tensor, fx
from torch.autograd.function import once_differentiable
from torch.nn import functional

_NEIGHBOURS = tuple((down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1))
"""Offsets of the eight neighbours in an image padded by one pixel."""
_PAIRS = (
    (0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6), (0, 4), (3, 7),
    (1, 5), (2, 6), (1, 4), (3, 6), (2, 4), (3, 5), (3, 4),
)  # fmt: skip
"""Comparisons that sort eight values (Batcher's odd-even merge sort, 19 of them)."""


class _NeighbourMedian(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        padded = functional.pad(images, (1, 1, 1, 1))
        median = _median(_views(padded))
        ctx.save_for_backward(padded, median)
        return median

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Give the gradient of a median to the first neighbour that equals it; where that is the zero, to none."""
        padded, median = ctx.saved_tensors
        left = gradients[0] * (median != 0)
        result = torch.zeros_like(padded)
        for view, received in zip(_views(padded), _views(result), strict=True):
            equal = view == median
            received.add_(left * equal)
            left = left * ~equal
        return result[..., 1:-1, 1:-1]


def _views(padded: Tensor) -> list[Tensor]:
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    return [padded[..., down : down + height, right : right + width] for down, right in _NEIGHBOURS]


def _median(values: list[Tensor]) -> Tensor:
    """Return the fifth largest of eight values and a zero."""
    for low, high in _PAIRS:
        smaller, larger = torch.minimum(values[low], values[high]), torch.maximum(values[low], values[high])
        values[low], values[high] = smaller, larger
    # Of nine values the median lies between the fourth and the fifth of the other eight, or is the ninth.
    return torch.maximum(values[3], values[4].clamp(max=0))


@fx.wrap
def neighbour_median(images: Tensor) -> Tensor:
    """Return the median of each pixel's 3×3 window in which the pixel itself counts as 0; 0 beyond the edges.

    Parameters
    ----------
    images
        N×C×H×W.

    Returns
    -------
    Tensor
        N×C×H×W. The gradient goes to the one neighbour that is the median.
    """
    median: Tensor = _NeighbourMedian.apply(images)
    return median
