"""How visible a perturbation is: PSNR and SSIM of 8-bit images."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_STRETCH = 64
_PIXELS = 2**14
"""Places at work at a time: what fits a processor's cache."""
_FEWEST_ROWS = 22
"""Of a band: its ten rows of border are smoothed twice."""


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

    A Gaussian is a product of two one-dimensional ones, and these are small matrices. Bands of rows that fit a
    processor's cache are smoothed one after the other.

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
    if min(height, width) <= 2 * _RADIUS:
        return torch.full((len(one),), torch.nan)
    rows = height - 2 * _RADIUS
    band = min(rows, max(_FEWEST_ROWS, _PIXELS // width))
    few = max(1, _PIXELS // (band * width))
    found = []
    for some, others in zip(one.split(few), other.split(few), strict=True):
        total = torch.zeros(len(some), dtype=torch.float64)
        for first in range(0, rows, band):
            reach = slice(first, min(first + band, rows) + 2 * _RADIUS)
            total += _similarities(some[..., reach, :], others[..., reach, :])
        found.append(total / (one.shape[1] * rows * (width - 2 * _RADIUS)))
    return torch.cat(found).float()


def _similarities(one: Tensor, other: Tensor) -> Tensor:
    """Return the sums of the similarity over channels and places, N float64."""
    # Around grey, because variances are differences of squares, and those are smaller there.
    a, b = (levels.float().div_(255).sub_(0.5) for levels in (one, other))
    maps = torch.stack([a, b, a * a + b * b, a * b])
    down = _gaussian(maps.shape[-2] - 2 * _RADIUS).T @ maps
    mean_a, mean_b, squares, products = _smoothed(down)
    of_means, both = mean_a * mean_b, mean_a + mean_b
    squared_means = mean_a.square() + mean_b.square()
    covariance, variances = products - of_means, squares - squared_means
    # (a + ½)(b + ½) and (a + ½)² + (b + ½)².
    similar = (2 * of_means + both + 0.5 + _C1) * (2 * covariance + _C2)
    similar /= (squared_means + both + 0.5 + _C1) * (variances + _C2)
    return similar.sum(dim=(1, 2, 3), dtype=torch.float64)


def _smoothed(maps: Tensor) -> Tensor:
    """Smooth along the last dimension, where the window fits: stretches of it times one small matrix."""
    length = maps.shape[-1] - 2 * _RADIUS
    stretch = min(_STRETCH, length)
    missing = -length % stretch
    windows = functional.pad(maps, (0, missing)).unfold(-1, stretch + 2 * _RADIUS, stretch)
    smooth = windows.reshape(-1, stretch + 2 * _RADIUS) @ _gaussian(stretch)
    return smooth.view(*windows.shape[:-2], -1)[..., :length]


@cache
def _gaussian(places: int) -> Tensor:
    """Return the matrix that smooths ``places`` pixels in a line, from those and five more at either end."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-((offsets / _SIGMA) ** 2) / 2)
    matrix = torch.zeros(places + 2 * _RADIUS, places, dtype=torch.float64)
    for place, weight in enumerate(window / window.sum()):
        matrix.diagonal(-place).fill_(weight)
    return matrix.float()
