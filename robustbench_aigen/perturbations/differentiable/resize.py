"""Resizing by the weights of Pillow's own filters: one matrix for the columns and one for the rows.

Pillow computes the same (src/libImaging/Resample.c). It rounds to 8 bits after each of the two, and so does this,
with a gradient of 1.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.perturbations.differentiable.codecs import jpeg
from robustbench_aigen.perturbations.differentiable.rounding import on_8_bits
from robustbench_aigen.perturbations.resizing import fitting_size, pixelated_size, scaled_size

Weights = NDArray[np.float64]


def _box(x: Weights) -> Weights:
    return ((x > -0.5) & (x <= 0.5)).astype(float)


def _bilinear(x: Weights) -> Weights:
    return np.maximum(1 - np.abs(x), 0)


def _hamming(x: Weights) -> Weights:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(math.pi * x)), 0)


def _bicubic(x: Weights) -> Weights:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: Weights) -> Weights:
    return np.where((x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0)


_FILTERS: dict[str, tuple[Callable[[Weights], Weights], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1),
    "hamming": (_hamming, 1),
    "bicubic": (_bicubic, 2),
    "lanczos": (_lanczos, 3),
}
"""The filters and how far they reach, in pixels of the smaller image."""


def resize(pixels: Tensor, *, scale: float, filter: str, back: bool) -> Tensor:  # noqa: A002  the recipe's word
    """Differentiable version of :func:`~robustbench_aigen.perturbations.resizing.resize`: N×3×H×W pixels."""
    return _resized(pixels, scaled_size(pixels.shape[-2:], scale), filter, back=back)


def resize_to(pixels: Tensor, *, side: int, filter: str, back: bool) -> Tensor:  # noqa: A002  the recipe's word
    """Differentiable version of :func:`~robustbench_aigen.perturbations.resizing.resize_to`."""
    size = pixels.shape[-2:]
    return _resized(pixels, scaled_size(size, side / min(size)), filter, back=back)


def fit_within(pixels: Tensor, *, side: int, filter: str) -> Tensor:  # noqa: A002  the recipe's word
    """Differentiable version of :func:`~robustbench_aigen.perturbations.resizing.fit_within`."""
    return _resized(pixels, fitting_size(pixels.shape[-2:], side), filter, back=False)


def pixelate(pixels: Tensor, *, scale: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.resizing.pixelate`."""
    return _resized(pixels, pixelated_size(pixels.shape[-2:], scale), "box", back=True)


def screenshot(pixels: Tensor, *, scale: float, quality: int) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.resizing.screenshot`."""
    shown = resize(pixels, scale=scale, filter="bicubic", back=False)
    return jpeg(shown, quality=quality, subsampling="4:2:0", repeats=1)


def _resized(pixels: Tensor, size: tuple[int, int], name: str, *, back: bool) -> Tensor:
    own = (pixels.shape[-2], pixels.shape[-1])
    changed = _through(pixels, size, name)
    return _through(changed, own, name) if back else changed


def _through(pixels: Tensor, size: tuple[int, int], name: str) -> Tensor:
    height, width = pixels.shape[-2:]
    if size[1] != width:
        # Filters with negative lobes leave the range, and Pillow clips and rounds after each direction.
        pixels = on_8_bits((pixels @ _on(pixels, width, size[1], name).T).clamp(0, 1))
    if size[0] != height:
        pixels = on_8_bits((_on(pixels, height, size[0], name) @ pixels).clamp(0, 1))
    return pixels


def _on(pixels: Tensor, length: int, target: int, name: str) -> Tensor:
    return torch.from_numpy(resampling_matrix(length, target, name)).to(pixels)


@lru_cache(maxsize=64)
def resampling_matrix(length: int, target: int, name: str) -> Weights:
    """Return the weights that Pillow's filter ``name`` gives ``length`` pixels in each of ``target`` pixels.

    Returns
    -------
    NDArray
        ``target`` × ``length``; every row sums to 1.
    """
    step, places = length / target, np.arange(length)
    if name == "nearest":
        # Added up as Geometry.c does: which of two pixels is nearest may hang on the last bit.
        nearest = np.cumsum([step * 0.5, *[step] * (target - 1)]).astype(int)
        return (places == nearest[:, None]).astype(float)
    function, reach = _FILTERS[name]
    centres = (np.arange(target)[:, None] + 0.5) * step
    stretch = max(step, 1.0)
    weights = function((places + 0.5 - centres) / stretch)
    first = np.floor(centres - reach * stretch + 0.5)
    last = np.floor(centres + reach * stretch + 0.5)
    weights = np.where((places >= first) & (places < last), weights, 0)
    normalised: Weights = weights / weights.sum(axis=1, keepdims=True)
    return normalised
