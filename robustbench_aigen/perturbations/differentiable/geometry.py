"""Rotation by Pillow's own bicubic weights."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_TAPS = range(-1, 3)


def rotate(pixels: Tensor, *, degrees: float, expand: bool) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.geometry.rotate`: N×3×H×W pixels.

    Pillow drops what is behind the decimal point instead of rounding, half a level on average; this does not.
    """
    height, width = pixels.shape[-2:]
    turn = degrees % 360
    if turn in (0, 180) or (turn in (90, 270) and (expand or height == width)):
        return pixels.rot90(int(turn // 90), (2, 3))
    down, right = _sources(height, width, turn, expand=expand)
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    top, left = np.floor(down - 0.5), np.floor(right - 0.5)
    vertical, horizontal = _weights(down - 0.5 - top), _weights(right - 0.5 - left)
    flat, turned = pixels.flatten(2), torch.zeros((), dtype=pixels.dtype, device=pixels.device)
    for i, below in enumerate(_TAPS):
        for j, beside in enumerate(_TAPS):
            places = np.clip(top + below, 0, height - 1) * width + np.clip(left + beside, 0, width - 1)
            taken = flat[..., torch.from_numpy(places.astype(np.int64)).to(pixels.device).flatten()]
            turned = turned + _on(pixels, inside * vertical[i] * horizontal[j]) * taken
    return turned.view(*pixels.shape[:2], *down.shape).clamp(0, 1)


def _sources(
    height: int, width: int, degrees: float, *, expand: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the row and the column that each pixel of the turned image comes from, as PIL.Image.rotate has it."""
    angle = -math.radians(degrees)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)

    def turned(x: float, y: float) -> tuple[float, float]:
        x, y = x - width / 2, y - height / 2
        return cosine * x + sine * y + width / 2, -sine * x + cosine * y + height / 2

    new_height, new_width = height, width
    if expand:
        corners = [turned(x, y) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
        across, along = [x for x, _ in corners], [y for _, y in corners]
        new_width = math.ceil(max(across)) - math.floor(min(across))
        new_height = math.ceil(max(along)) - math.floor(min(along))
    columns = np.arange(new_width) + 0.5 - (new_width - width) / 2 - width / 2
    rows = np.arange(new_height)[:, None] + 0.5 - (new_height - height) / 2 - height / 2
    return -sine * columns + cosine * rows + height / 2, cosine * columns + sine * rows + width / 2


def _weights(t: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the weights of four neighbours ``t`` past the second: the cubic with a = −1 of Geometry.c."""
    return [-t + 2 * t**2 - t**3, 1 - 2 * t**2 + t**3, t + t**2 - t**3, -(t**2) + t**3]


def _on(pixels: Tensor, values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.ravel()).to(pixels)
