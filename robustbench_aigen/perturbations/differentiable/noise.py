"""Noise: the very draws of the real ones, from equal streams."""

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.differentiable.rounding import straight_through


def gaussian_noise(pixels: Tensor, streams: SampleStreams, *, sigma: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.noise.gaussian_noise`: N×3×H×W pixels."""
    return (pixels + sigma * _on(pixels, streams.normal(pixels.shape[1:]))).clamp(0, 1)


def speckle_noise(pixels: Tensor, streams: SampleStreams, *, sigma: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.noise.speckle_noise`."""
    return (pixels * (1 + sigma * _on(pixels, streams.normal(pixels.shape[1:])))).clamp(0, 1)


def poisson_noise(pixels: Tensor, streams: SampleStreams, *, photons: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.noise.poisson_noise`.

    The gradient is 1, that of the mean: a count is not a smooth function.
    """
    means = pixels.detach().double().clamp(0, 1).cpu().numpy() * photons
    counts = np.stack([streams.generator(row).poisson(image) for row, image in enumerate(means)])
    return straight_through(pixels, _on(pixels, np.clip(counts / photons, 0, 1)))


def salt_and_pepper(pixels: Tensor, streams: SampleStreams, *, amount: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.noise.salt_and_pepper`; no gradient under the specks."""
    drawn = torch.from_numpy(streams.uniform(0, 1, pixels.shape[1:])).to(pixels.device)
    return torch.where(drawn < amount / 2, 0.0, torch.where(drawn < amount, 1.0, pixels))


def _on(pixels: Tensor, values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).to(pixels)
