"""Image quality: PSNR and SSIM of 8-bit images."""

from functools import cache, partial

import torch
from torch import Tensor

from robustbench_aigen.numerics.parallel_map import in_threads

_RADIUS, _SIGMA = 5, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_STRETCH = 16
"""Pixels in a line that one matrix product smooths: fewer are slow, more multiply more zeros."""
_PIXELS = 2**13
"""Pixels in work at a time, so that they fit into the processor's cache."""
_BANDS = 4
"""Bands of rows that a thread takes at a time."""


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
    band = min(rows, max(_STRETCH, _PIXELS // width))
    few = max(1, _PIXELS // (band * width))
    found = []
    for some, others in zip(one.split(few), other.split(few), strict=True):
        total = torch.zeros(len(some), dtype=torch.float64)
        bands = [slice(first, min(first + band, rows) + 2 * _RADIUS) for first in range(0, rows, band)]
        work = partial(_similarities, some, others)
        # In threads of their own: those of torch wait for each other after every small step.
        for part in map(work, bands) if len(bands) <= _BANDS else in_threads(work, bands, chunk=_BANDS):
            total += part
        found.append(total / (one.shape[1] * rows * (width - 2 * _RADIUS)))
    return torch.cat(found).float()


def _similarities(one: Tensor, other: Tensor, band: slice) -> Tensor:
    """Return the sums of the similarity over channels and places of a band of rows, N float64."""
    one, other = one[..., band, :], other[..., band, :]
    # The sum and the difference of two images, and their squares, hold all moments; where the images are alike, the
    # difference is small, and the similarity keeps its digits.
    maps = torch.empty((4, *one.shape))
    total, difference = maps[:2]
    total.copy_(one)
    maps[2].copy_(other)
    torch.sub(total, maps[2], out=difference)
    total += maps[2]
    torch.mul(maps[:2], maps[:2], out=maps[2:])
    down = _gaussian(maps.shape[-2] - 2 * _RADIUS).T @ maps
    found = torch.zeros(len(one), dtype=torch.float64)
    for smooth in _smoothed(down):
        found += _similarity(*smooth.unbind(1)).sum(dim=(0, 2), dtype=torch.float64)
    return found


def _smoothed(maps: Tensor) -> list[Tensor]:
    """Smooth along the last dimension, where the window fits: stretches, then the remainder.

    Parameters
    ----------
    maps
        4×N×3×h×W, contiguous.

    Returns
    -------
    list
        Of stretches×4×N×places.
    """
    width, length = maps.shape[-1], maps.shape[-1] - 2 * _RADIUS
    lines = maps.view(-1, width)
    whole, rest = divmod(length, _STRETCH)
    found = []
    if whole:
        windows = lines.as_strided((whole, len(lines), _STRETCH + 2 * _RADIUS), (_STRETCH, width, 1))
        found.append(windows @ _gaussian(_STRETCH))
    if rest:
        found.append((lines[:, whole * _STRETCH :] @ _gaussian(rest))[None])
    return [smooth.view(len(smooth), *maps.shape[:2], -1) for smooth in found]


def _similarity(total: Tensor, difference: Tensor, totals: Tensor, differences: Tensor) -> Tensor:
    """Return the similarity by the local means of a + b, a - b and their squares, in levels, which are overwritten."""
    # 4 ab = (a + b)² - (a - b)² and 2 (a² + b²) = (a + b)² + (a - b)²; the same for means, variances and covariance.
    total.square_()
    difference.square_()
    totals.sub_(total).add_(2 * _C2)
    differences.sub_(difference)
    total.add_(2 * _C1)
    similar = (total - difference).mul_(totals - differences)
    return similar.div_(total.add_(difference).mul_(totals.add_(differences)))


@cache
def _gaussian(places: int) -> Tensor:
    """Return the matrix that smooths ``places`` pixels in a line, from those and five more at either end."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-((offsets / _SIGMA) ** 2) / 2)
    matrix = torch.zeros(places + 2 * _RADIUS, places, dtype=torch.float64)
    for place, weight in enumerate(window / window.sum()):
        matrix.diagonal(-place).fill_(weight)
    return matrix.float()
