"""JPEG as libjpeg computes it, step by step, with gradients."""

import io
import math
from functools import cache

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.perturbations.differentiable.rounding import (
    rounded,
    softly_rounded,
    straight_through,
)

_BLOCK = 8
_MIDDLE = 128
_FACTORS = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
"""Number of rows and columns that share one chroma sample."""

_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
"""JFIF 1.02: BT.601, full range."""


def jpeg(pixels: Tensor, *, quality: int, subsampling: str, repeats: int) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.codecs.jpeg`.

    The forward pass is libjpeg's: its quantisation tables, its padding at the edges, its averaged chroma and
    its triangle filter when that is enlarged again ("fancy upsampling"). The gradient passes every rounding
    to 8 bits unchanged and the rounding of coefficients by the cubic of Shin and Song 2017.

    Parameters
    ----------
    pixels
        N×3×H×W pixels; any H and W.
    quality, subsampling, repeats
        As the real codec takes them.

    Returns
    -------
    Tensor
        N×3×H×W pixels.
    """
    for _ in range(repeats):
        pixels = _through(pixels, quality, subsampling)
    return pixels


def _through(pixels: Tensor, quality: int, subsampling: str) -> Tensor:
    height, width = pixels.shape[-2:]
    rows, columns = _FACTORS[subsampling]
    for_luma, for_chroma = (
        torch.tensor(table, dtype=pixels.dtype, device=pixels.device)
        for table in quantisation_tables(quality)
    )
    planes = _mixed(pixels * LEVELS, _TO_YCBCR)
    # libjpeg rounds halves of the luma up and of the chroma down.
    planes = torch.cat([rounded(planes[:, :1]), -rounded(-planes[:, 1:])], dim=1) + _offset(pixels)
    luma = _coded(planes[:, :1], for_luma)
    chroma = _coded(_shrunk(planes[:, 1:], rows, columns), for_chroma)
    # Enlarging uses only neighbours inside the image, not the padding of the blocks.
    chroma = chroma[..., : math.ceil(height / rows), : math.ceil(width / columns)]
    chroma = _enlarged(chroma, rows, columns)[..., :height, :width]
    stored = torch.cat([luma[..., :height, :width], chroma], dim=1) - _offset(pixels)
    return rounded(_mixed(stored, _TO_RGB)).clamp(0, LEVELS) / LEVELS


@cache
def quantisation_tables(quality: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return libjpeg's tables for a quality, luma and chroma, 8×8 each: row by row, vertical frequency first."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    stored = Image.open(buffer)
    assert isinstance(stored, JpegImageFile)
    tables = stored.quantization
    return tuple(tuple(tuple(tables[i][8 * row : 8 * row + 8]) for row in range(8)) for i in (0, 1))


def _mixed(planes: Tensor, weights: tuple[tuple[float, ...], ...]) -> Tensor:
    matrix = torch.tensor(weights, dtype=planes.dtype, device=planes.device)
    return torch.einsum("ij,njhw->nihw", matrix, planes)


def _offset(like: Tensor) -> Tensor:
    return torch.tensor([0, _MIDDLE, _MIDDLE], dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Transform 8×8 blocks, quantise, and transform back: N×C×H×W levels, H and W padded to multiples of 8."""
    planes = _padded(planes, -planes.shape[-2] % _BLOCK, -planes.shape[-1] % _BLOCK) - _MIDDLE
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).transpose(3, 4)
    # √8 times the orthonormal transform, in two passes, each rounded: jfdctint.c and jidctint.c.
    basis = torch.tensor(_cosines(), dtype=planes.dtype, device=planes.device)
    coefficients = rounded(basis @ (rounded(blocks @ basis.T * 4) / 4))
    stored = softly_rounded(coefficients / (_BLOCK * table)) * table
    blocks = rounded((rounded(basis.T @ stored * 4) / 4) @ basis / _BLOCK)
    planes = blocks.transpose(3, 4).reshape(count, channels, height, width)
    return (planes + _MIDDLE).clamp(0, LEVELS)


@cache
def _cosines() -> list[list[float]]:
    """√8 times the orthonormal 8-point DCT-II, frequency by place."""
    frequency, place = np.indices((_BLOCK, _BLOCK))
    basis = np.cos((2 * place + 1) * frequency * math.pi / (2 * _BLOCK)) * math.sqrt(2)
    basis[0] = 1
    return basis.tolist()


def _padded(planes: Tensor, rows: int, columns: int) -> Tensor:
    return functional.pad(planes, (0, columns, 0, rows), mode="replicate")


def _shrunk(chroma: Tensor, rows: int, columns: int) -> Tensor:
    """Average ``rows``×``columns`` neighbours, as libjpeg's jcsample.c does."""
    if rows * columns == 1:
        return chroma
    # Columns are padded before averaging and rows after it: jcprepct.c and jcsample.c do so.
    chroma = _padded(chroma, -chroma.shape[-2] % rows, -chroma.shape[-1] % (_BLOCK * columns))
    means = functional.avg_pool2d(chroma, (rows, columns))
    # Added in turn before the division by a shift, so that the error is zero on average.
    added = torch.arange(means.shape[-1], device=means.device) % 2 + (rows * columns) // 4
    return straight_through(means, (means + added / (rows * columns)).floor())


def _enlarged(chroma: Tensor, rows: int, columns: int) -> Tensor:
    """Enlarge by triangle filters: 3/4 of the nearer sample and 1/4 of the next, as jdsample.c does."""
    if rows * columns == 1:
        return chroma
    if chroma.shape[-1] <= 2:  # libjpeg repeats the samples of what is this narrow
        return chroma.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1)
    if rows == 2:
        chroma = _doubled(chroma.transpose(-1, -2)).transpose(-1, -2)
    chroma = _doubled(chroma)
    # libjpeg adds these before it divides by 4 (rows alone) or 16 and drops the rest.
    added = (0.5, 7 / 16) if rows == 2 else (0.25, 0.5)
    turns = torch.tensor(added, dtype=chroma.dtype, device=chroma.device).repeat(chroma.shape[-1] // 2)
    return straight_through(chroma, (chroma + turns).floor())


def _doubled(planes: Tensor) -> Tensor:
    """Double the columns."""
    before = torch.cat([planes[..., :1], planes[..., :-1]], dim=-1)
    after = torch.cat([planes[..., 1:], planes[..., -1:]], dim=-1)
    return torch.stack([0.75 * planes + 0.25 * before, 0.75 * planes + 0.25 * after], dim=-1).flatten(-2)
