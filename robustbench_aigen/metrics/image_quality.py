"""How visible a perturbation is: PSNR and SSIM of 8-bit images."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_STRETCH = 64
_PIXELS = 2**15
"""Pixels at work at a time: what fits a processor's cache."""


def psnr(l2: Tensor, values: int) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels.

    Parameters
    ----------
    l2
        Any number of Euclidean distances in pixel units.
    values
        Numbers in each image, 3·H·W.

    Returns
    -------
    Tensor
        Of the shape of ``l2``; infinite where the distance is 0.
    """
    return 10 * torch.log10(values / l2.double().square())


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Return the structural similarity of images (Wang et al. 2004): a Gaussian of 1.5 pixels, 11 wide, no borders.

    A Gaussian is a product of two one-dimensional ones, and these are matrices: at 32 pixels a side that is twenty
    times as fast as the two-dimensional convolution of torchmetrics, which would cost as much as an attack.

    Parameters
    ----------
    one, other
        N×3×H×W uint8.

    Returns
    -------
    Tensor
        N float32, the mean over channels and places; NaN where a side is shorter than the window.
    """
    height, width = one.shape[-2:]
    if min(height, width) < 2 * _RADIUS + 1:
        return torch.full((len(one),), torch.nan)
    few = max(1, _PIXELS // (height * width))
    return torch.cat([_ssim(*some) for some in zip(one.split(few), other.split(few), strict=True)])


def _ssim(one: Tensor, other: Tensor) -> Tensor:
    # Around grey, because variances are differences of squares, and those are smaller there.
    a, b = one.float() / 255 - 0.5, other.float() / 255 - 0.5
    maps = torch.stack([a, b, a * a, b * b, a * b])
    mean_a, mean_b, aa, bb, ab = _smoothed(_smoothed(maps).mT).mT
    covariance = ab - mean_a * mean_b
    variances = aa - mean_a.square() + bb - mean_b.square()
    mean_a, mean_b = mean_a + 0.5, mean_b + 0.5
    similar = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    similar /= (mean_a.square() + mean_b.square() + _C1) * (variances + _C2)
    return similar.mean(dim=(1, 2, 3))


def _smoothed(maps: Tensor) -> Tensor:
    """Smooth along the last dimension, where the window fits: stretches of it times one small matrix."""
    length = maps.shape[-1] - 2 * _RADIUS
    stretch = min(_STRETCH, length)
    missing = -length % stretch
    windows = functional.pad(maps, (0, missing)).unfold(-1, stretch + 2 * _RADIUS, stretch)
    return (windows @ _gaussian(stretch)).flatten(-2)[..., :length]


@cache
def _gaussian(places: int) -> Tensor:
    """Return the matrix that smooths ``places`` pixels in a line, from those and five more at either end."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-((offsets / _SIGMA) ** 2) / 2)
    matrix = torch.zeros(places + 2 * _RADIUS, places, dtype=torch.float64)
    for place, weight in enumerate(window / window.sum()):
        matrix.diagonal(-place).fill_(weight)
    return matrix.float()
