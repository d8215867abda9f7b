"""Shared loops of perturbations: on floats, and on one Pillow image at a time; large images in threads."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.parallel_map import in_threads

Floats = NDArray[np.float64]
Levels = NDArray[np.uint8]

_PIXELS = 2**16
"""Size of the images that are changed together; they fit into a processor's cache."""
_ALONE = 2**14
"""Pixels of an image from which on threads save time: smaller images hold Python's lock most of the time."""


def on_floats(levels: Tensor, change: Callable[[Floats], Floats]) -> Tensor:
    """Apply ``change`` to N×3×H×W float64 pixels in [0, 1]; clip and round its result to uint8 levels.

    ``change`` is given a few images at a time, possibly in threads, and returns as many of the same size.
    """
    return on_numbered_floats(levels, lambda pixels, _: change(pixels))


def on_numbered_floats(levels: Tensor, change: Callable[[Floats, Sequence[int]], Floats]) -> Tensor:
    """Apply ``change`` as :func:`on_floats` does, and tell it the numbers of the images in the batch."""

    def change_some(rows: range) -> Levels:
        # NumPy's own loops: those of torch would start threads of theirs in each thread.
        pixels = given[rows.start : rows.stop].astype(np.float32) / np.float32(LEVELS)
        changed = np.clip(change(pixels.astype(np.float64), rows), 0, 1)
        changed *= LEVELS
        return np.rint(changed, out=changed).astype(np.uint8)

    given = levels.cpu().numpy()
    return _joined(_in_parts(given, change_some), levels)


def on_pictures(levels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply ``change`` to each image as a Pillow picture, possibly in threads; all results have one size."""

    def change_some(rows: range) -> Levels:
        changed = [
            change(Image.merge("RGB", [Image.fromarray(channel) for channel in image]))
            for image in given[rows.start : rows.stop]
        ]
        # Converting copies.
        same = [picture if picture.mode == "RGB" else picture.convert("RGB") for picture in changed]
        result = np.empty((len(same), 3, same[0].height, same[0].width), np.uint8)
        for place, picture in zip(result, same, strict=True):
            place[:] = np.asarray(picture).transpose(2, 0, 1)
        return result

    given = levels.cpu().numpy()
    return _joined(_in_parts(given, change_some), levels)


def _joined(parts: list[Levels], like: Tensor) -> Tensor:
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts)).to(like.device)


def _in_parts(levels: Levels, change_some: Callable[[range], Levels]) -> list[Levels]:
    """Return the results of a batch, a few images at a time, with large images in threads."""
    count, pixels = len(levels), levels.shape[-2] * levels.shape[-1]
    few = max(1, _PIXELS // pixels)
    parts = [range(first, min(first + few, count)) for first in range(0, count, few)]
    if pixels < _ALONE or len(parts) == 1:
        return [change_some(rows) for rows in parts]
    return list(in_threads(change_some, parts, chunk=1))
