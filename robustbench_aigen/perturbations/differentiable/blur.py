"""Blurs and sharpening, as the real ones but for rounding."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.blur import motion_kernel

_MOST_VALUES = 2**25
"""Neighbours that the median sorts at a time: 128 MiB of float32."""


def gaussian_blur(pixels: Tensor, *, sigma: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.blur.gaussian_blur`: N×3×H×W pixels."""
    # scipy.ndimage.gaussian_filter cuts off at four standard deviations.
    reach = int(4 * sigma + 0.5)
    distances = np.arange(-reach, reach + 1)
    weights = np.exp(-(distances**2) / (2 * sigma**2))
    kernel = torch.from_numpy(weights / weights.sum()).to(pixels)
    planes = pixels.flatten(0, 1).unsqueeze(1)
    planes = functional.pad(planes, (reach, reach, 0, 0), mode="replicate")
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1))
    planes = functional.pad(planes, (0, 0, reach, reach), mode="replicate")
    return functional.conv2d(planes, kernel.view(1, 1, -1, 1)).view_as(pixels)


def sharpen(pixels: Tensor, *, amount: float, sigma: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.blur.sharpen`."""
    return (pixels + amount * (pixels - gaussian_blur(pixels, sigma=sigma))).clamp(0, 1)


def motion_blur(pixels: Tensor, streams: SampleStreams, *, radius: int, sigma: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.blur.motion_blur`: equal angles from equal streams."""
    height, width = pixels.shape[-2:]
    taps = [_taps(radius, sigma, angle) for angle in streams.uniform(-45, 45, ())]
    most = max(len(weights) for weights, _, _ in taps)
    rows, columns = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
    smeared = torch.zeros_like(pixels)
    flat = pixels.flatten(2)
    for tap in range(most):
        weight, down, right = (
            torch.tensor([values[tap] if tap < len(values) else 0 for values in kind]).view(-1, 1, 1, 1)
            for kind in zip(*taps, strict=True)
        )
        places = (rows - down).clamp(0, height - 1) * width + (columns - right).clamp(0, width - 1)
        places = places.flatten(2).expand(-1, 3, -1).to(pixels.device)
        smeared = smeared + weight.to(pixels) * flat.gather(2, places).view_as(pixels)
    return smeared


def _taps(radius: int, sigma: float, angle: float) -> tuple[list[float], list[int], list[int]]:
    """Return the weights of a motion and how far down and right each moves the image."""
    kernel = motion_kernel(radius, sigma, angle)
    down, right = (kernel > 0).nonzero()
    middle = len(kernel) // 2
    return kernel[down, right].tolist(), (down - middle).tolist(), (right - middle).tolist()


def median_blur(pixels: Tensor, *, size: int) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.blur.median_blur`; the gradient goes to the median."""
    before, after = size // 2, size - 1 - size // 2
    padded = functional.pad(pixels, (before, after, before, after), mode="replicate")
    count, channels, height, width = pixels.shape
    rows = max(1, _MOST_VALUES // (count * channels * width * size**2))
    parts = []
    for top in range(0, height, rows):
        strip = padded[..., top : top + min(rows, height - top) + size - 1, :]
        with torch.no_grad():
            windows = strip.unfold(-2, size, 1).unfold(-2, size, 1).flatten(-2)
            chosen = windows.kthvalue(size**2 // 2 + 1, dim=-1).indices
        down = torch.arange(chosen.shape[-2], device=pixels.device).view(-1, 1) + chosen // size
        right = torch.arange(width, device=pixels.device) + chosen % size
        places = down * strip.shape[-1] + right
        parts.append(strip.flatten(2).gather(2, places.flatten(2)).view(chosen.shape))
    return torch.cat(parts, dim=-2)
