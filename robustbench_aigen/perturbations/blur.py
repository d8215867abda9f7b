"""Blurs and sharpening."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.pixelwise import Floats, on_floats, on_numbered_floats


def _gaussian(pixels: Floats, sigma: float) -> Floats:
    blurred: Floats = ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="nearest", truncate=4)
    return blurred


def gaussian_blur(levels: Tensor, *, sigma: float) -> Tensor:
    """Blur with a Gaussian of ``sigma`` image pixels, edges repeated."""
    return on_floats(levels, lambda pixels: _gaussian(pixels, sigma))


def median_blur(levels: Tensor, *, size: int) -> Tensor:
    """Replace every channel value by the median of the ``size``×``size`` values around it."""
    return on_floats(levels, lambda pixels: ndimage.median_filter(pixels, (1, 1, size, size), mode="nearest"))


def sharpen(levels: Tensor, *, amount: float, sigma: float) -> Tensor:
    """Unsharp masking: add ``amount`` times the difference to a Gaussian blur of ``sigma`` image pixels."""
    return on_floats(levels, lambda pixels: pixels + amount * (pixels - _gaussian(pixels, sigma)))


def motion_blur(levels: Tensor, streams: SampleStreams, *, radius: int, sigma: float) -> Tensor:
    """Smear along a line whose angle each image draws from [−45°, 45°].

    The kernel is one-sided, as ImageMagick's is, which CIFAR-10-C uses: 2 · radius + 1 pixels with the weights
    of half a Gaussian.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image.
    radius, sigma
        Length and fall-off in image pixels.
    """
    angles = streams.uniform(-45, 45, ())
    kernels = [motion_kernel(radius, sigma, angle)[None] for angle in angles]
    return on_numbered_floats(levels, lambda pixels, rows: np.stack(
        [ndimage.convolve(image, kernels[row], mode="nearest") for row, image in zip(rows, pixels, strict=True)]
    ))  # fmt: skip


def motion_kernel(radius: int, sigma: float, angle: float) -> NDArray[np.float64]:
    """Return the kernel of a motion in the direction of ``angle`` (degrees), its origin in the middle."""
    length = 2 * radius + 1
    kernel = np.zeros((2 * length - 1, 2 * length - 1))
    centre = length - 1
    for step in range(length):
        row = centre + round(step * math.sin(math.radians(angle)))
        column = centre + round(step * math.cos(math.radians(angle)))
        kernel[row, column] += math.exp(-(step**2) / (2 * sigma**2))
    return kernel / kernel.sum()
