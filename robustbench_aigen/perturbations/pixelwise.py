"""What perturbations share: floats in, floats out, and one Pillow image at a time; large images in threads."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.threads import in_threads

Floats = NDArray[np.float64]
T = TypeVar("T")
R = TypeVar("R")

_PIXELS = 2**16
"""Of the images that are changed together: what fits a processor's cache."""
_ALONE = 2**14
"""Pixels of an image from which on threads pay: Python's lock is held for most of the work on a smaller one."""


def on_floats(levels: Tensor, change: Callable[[Floats], Floats]) -> Tensor:
    """Apply ``change`` to N×3×H×W float64 pixels in [0, 1]; clip and round its result to uint8 levels.

    ``change`` is given a few images at a time, possibly in threads, and returns as many of the same size.
    """
    return on_numbered_floats(levels, lambda pixels, _: change(pixels))


def on_numbered_floats(levels: Tensor, change: Callable[[Floats, Sequence[int]], Floats]) -> Tensor:
    """Apply ``change`` as :func:`on_floats` does, and tell it the numbers of the images in the batch."""
    count, _, height, width = levels.shape
    few = max(1, _PIXELS // (height * width))
    given = levels.cpu()
    result = torch.empty_like(given)

    def change_some(rows: range) -> None:
        some = slice(rows.start, rows.stop)
        changed = change(to_pixels(given[some]).double().numpy(), rows)
        result[some] = to_levels(torch.from_numpy(np.clip(changed, 0, 1)))

    parts = [range(first, min(first + few, count)) for first in range(0, count, few)]
    _each(change_some, parts, height * width)
    return result.to(levels.device)


def on_pictures(levels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply ``change`` to each image as a Pillow RGB picture, possibly in threads; all results have one size."""

    def change_one(image: Tensor) -> Tensor:
        changed = change(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())).convert("RGB")
        return torch.from_numpy(np.array(changed)).permute(2, 0, 1).contiguous()

    pixels = levels.shape[-2] * levels.shape[-1]
    return torch.stack(_each(change_one, list(levels.cpu()), pixels)).to(levels.device)


def _each(work: Callable[[T], R], items: Sequence[T], pixels: int) -> list[R]:
    """Return ``work(item)`` for every item, in threads where the images are large."""
    if pixels < _ALONE or len(items) == 1:
        return [work(item) for item in items]
    return list(in_threads(work, items, chunk=1))
