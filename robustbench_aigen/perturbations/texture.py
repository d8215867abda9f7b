"""Normalisation of fine texture, which detectors of co-occurrence matrices read."""

import numpy as np
from scipy import ndimage
from torch import Tensor

from robustbench_aigen.perturbations.pixelwise import Floats, on_floats


def texture_match(levels: Tensor, *, contrast: float, sigma: float, strongest: float) -> Tensor:
    """Scale the fine texture until neighbours differ as much as in photographs.

    The contrast of the grey-level co-occurrence matrix at distance 1, the mean squared difference of horizontal and
    vertical neighbours, becomes ``contrast`` in each channel, before clipping and rounding: the difference to a
    Gaussian blur is multiplied by the factor that gives it, at most ``strongest``.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    contrast
        Mean squared difference of neighbours, in squared 8-bit levels.
    sigma
        Standard deviation of the blur in pixels.
    strongest
        Largest factor.
    """
    wanted = contrast / 255**2

    def change(pixels: Floats) -> Floats:
        base = ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="nearest")
        fine = pixels - base
        # The contrast of base + s · fine is a quadratic function of s.
        square, mixed, rest = _product(fine, fine), 2 * _product(base, fine), _product(base, base) - wanted
        root = np.sqrt(np.maximum(mixed**2 - 4 * square * rest, 0))
        factor = np.clip((root - mixed) / np.maximum(2 * square, 1e-15), 0, strongest)
        return base + factor * fine

    return on_floats(levels, change)


def _product(one: Floats, other: Floats) -> Floats:
    """Return the mean product of the differences of neighbours, N×3×1×1."""
    parts = [np.diff(one, axis=axis) * np.diff(other, axis=axis) for axis in (2, 3)]
    count = sum(part.shape[2] * part.shape[3] for part in parts)
    total: Floats = sum(part.sum(axis=(2, 3), keepdims=True) for part in parts) / max(count, 1)
    return total
