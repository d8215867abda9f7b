"""Brightness, contrast, saturation and gamma: the formulas of the real ones, without their rounding."""

import torch
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import LEVELS


def brightness(pixels: Tensor, *, shift: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.tone.brightness`: N×3×H×W pixels."""
    value = pixels.amax(dim=1, keepdim=True)
    target = (value + shift).clamp(0, 1)
    return torch.where(value > 0, pixels * target / _safe(value), target).clamp(0, 1)


def contrast(pixels: Tensor, *, factor: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.tone.contrast`."""
    means = pixels.mean(dim=(2, 3), keepdim=True)
    return ((pixels - means) * factor + means).clamp(0, 1)


def saturation(pixels: Tensor, *, factor: float, shift: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.tone.saturation`."""
    value, least = pixels.amax(dim=1, keepdim=True), pixels.amin(dim=1, keepdim=True)
    spread = value - least
    new = (spread / _safe(value) * factor + shift).clamp(0, 1)
    red = torch.tensor([0, 1, 1], dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    below = torch.where(spread > 0, (value - pixels) / _safe(spread), red)
    return (value - below * new * value).clamp(0, 1)


def gamma(pixels: Tensor, *, exponent: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.tone.gamma`.

    A straight line below the first level: there the power has an infinite slope, or none.
    """
    first = 1 / LEVELS
    return torch.where(pixels < first, pixels * first ** (exponent - 1), pixels.clamp_min(first) ** exponent)


def _safe(divisor: Tensor) -> Tensor:
    """Replace zeros, whose quotients are not used, so that no gradient is infinite."""
    return torch.where(divisor > 0, divisor, 1)
