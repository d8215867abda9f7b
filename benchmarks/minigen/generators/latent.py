"""Sampling of generators that turn a normal latent vector and a class into an image in one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.minigen.generators.conditional import standing_statistics
from benchmarks.minigen.generators.interface import Request

LATENT = 128
SAMPLER = f"one forward pass from a {LATENT}-dimensional normal vector and a class"


def latent_sampler(restored: Callable[[Path], nn.Module]) -> Callable[[Path, Request], Tensor]:
    """Return the ``sample`` of a generator.

    ``restored(work)`` loads its averaged weights, a module from N×128 latent vectors and N classes to images; batch
    normalisation is measured for them once.
    """

    @lru_cache(maxsize=1)
    def trained(work: Path) -> nn.Module:
        return standing_statistics(restored(work), LATENT)

    @torch.inference_mode()
    def sample(work: Path, request: Request) -> Tensor:
        net = trained(work)
        rng = torch.Generator().manual_seed(request.seed)
        latent = torch.randn(len(request.labels), LATENT, generator=rng)
        result: Tensor = net(latent, torch.as_tensor(request.labels))
        return result

    return sample
