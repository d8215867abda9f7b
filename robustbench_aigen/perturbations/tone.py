"""Brightness, contrast, saturation, gamma, bit depth. CIFAR-10-C's definitions where it has one."""

import numpy as np
from torch import Tensor

from robustbench_aigen.perturbations.pixelwise import Floats, on_floats


def brightness(levels: Tensor, *, shift: float) -> Tensor:
    """Add ``shift`` to the value (V) of HSV, hue and saturation kept."""

    def change(pixels: Floats) -> Floats:
        value = pixels.max(axis=1, keepdims=True)
        target = np.clip(value + shift, 0, 1)
        # Black has neither hue nor saturation: it becomes grey.
        return np.where(value > 0, pixels * target / np.where(value > 0, value, 1), target)

    return on_floats(levels, change)


def contrast(levels: Tensor, *, factor: float) -> Tensor:
    """Scale the distance of every channel to its mean over the image."""

    def change(pixels: Floats) -> Floats:
        means: Floats = pixels.mean(axis=(2, 3), keepdims=True)
        return (pixels - means) * factor + means

    return on_floats(levels, change)


def saturation(levels: Tensor, *, factor: float, shift: float) -> Tensor:
    """Map the saturation (S) of HSV to factor · S + shift, hue and value kept; greys count as red, hue 0."""

    def change(pixels: Floats) -> Floats:
        value, least = pixels.max(axis=1, keepdims=True), pixels.min(axis=1, keepdims=True)
        spread = value - least
        old = np.where(value > 0, spread / np.where(value > 0, value, 1), 0)
        new = np.clip(old * factor + shift, 0, 1)
        # How far each channel is below the value, as a share of the spread: what hue is made of.
        below = np.where(spread > 0, (value - pixels) / np.where(spread > 0, spread, 1), _RED)
        return value - below * new * value

    return on_floats(levels, change)


_RED = np.array([0.0, 1.0, 1.0]).reshape(1, 3, 1, 1)


def gamma(levels: Tensor, *, exponent: float) -> Tensor:
    """Raise every value to ``exponent``: above 1 darkens."""
    return on_floats(levels, lambda pixels: pixels**exponent)


def bit_depth(levels: Tensor, *, bits: int) -> Tensor:
    """Round every value to one of 2^bits, black and white among them."""
    steps = 2**bits - 1
    return on_floats(levels, lambda pixels: np.round(pixels * steps) / steps)
