"""Simple image statistics: channel moments and the radial power spectrum, differentiable.

The generators' regulariser and the separability check both read them.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
RINGS = 17
PLANES = 6
COUNT = 12 + PLANES * RINGS


@lru_cache(maxsize=4)
def _rings(size: int) -> Tensor:
    """Averaging matrix RINGS × (size·(size//2+1)): which frequencies of ``rfft2`` belong to which radius.

    Radii are rounded; those at and beyond the Nyquist frequency of one axis share the last ring. The zero
    frequency is left out (the mean is a channel moment).
    """
    fy = torch.fft.fftfreq(size) * size
    fx = torch.arange(size // 2 + 1)
    radius = torch.sqrt(fy[:, None] ** 2 + fx[None] ** 2).round().long()
    ring = radius.clamp(max=RINGS) - 1
    weight = torch.full((size, size // 2 + 1), 2.0)
    weight[:, [0, -1]] = 1.0
    weight[0, 0] = 0.0
    ring[0, 0] = 0
    matrix = torch.zeros(RINGS, ring.numel())
    matrix[ring.flatten(), torch.arange(ring.numel())] = weight.flatten()
    return matrix / matrix.sum(dim=1, keepdim=True)


def log_spectrum(plane: Tensor) -> Tensor:
    """Natural log of the azimuthally averaged power, N×H×W → N×RINGS."""
    power = torch.fft.rfft2(plane, norm="ortho").abs().square().flatten(1)
    return torch.log(power @ _rings(plane.shape[-1]).T + 1e-5)


def moments(images: Tensor) -> Tensor:
    """Mean, standard deviation, skewness and kurtosis of each channel, N×C×H×W → N×4C."""
    flat = images.flatten(2)
    mean = flat.mean(dim=2, keepdim=True)
    centred = flat - mean
    deviation = (centred.square().mean(dim=2, keepdim=True) + 1e-6).sqrt()
    standard = centred / deviation
    return torch.cat(
        [
            mean[..., 0],
            deviation[..., 0],
            standard.pow(3).mean(dim=2),
            standard.pow(4).mean(dim=2).clamp(max=20.0),
        ],
        dim=1,
    )


def luminance(images: Tensor) -> Tensor:
    """N×3×H×W to N×H×W (ITU-R BT.601 weights)."""
    return (images * torch.tensor(LUMA)[:, None, None]).sum(dim=1)


def statistics(images: Tensor) -> Tensor:
    """Channel moments and log radial spectra of the channels, the luminance and two colour differences.

    N×3×32×32 in [-1, 1] → N×COUNT.
    """
    luma = luminance(images)
    red, green, blue = images.unbind(dim=1)
    planes = (red, green, blue, luma, red - luma, blue - luma)
    return torch.cat([moments(images), *(log_spectrum(plane) for plane in planes)], dim=1)
