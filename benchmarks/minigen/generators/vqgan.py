"""Reconstruction of photographs by a mildly compressing VQ autoencoder.

After VQGAN (Esser et al. 2021: adversarial and perceptual loss), with finite scalar quantisation (Mentzer et
al. 2024) in place of a learned codebook.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.minigen.generators import adversarial
from benchmarks.minigen.generators.interface import Generator, Request
from benchmarks.minigen.training import Recipe, restore, to_signed

NAME = "vqgan"
LEVELS = (7, 7, 7, 5)
BATCH = 32


def quantise(codes: Tensor, levels: tuple[int, ...] = LEVELS) -> Tensor:
    """Bound each channel and round it to one of its (odd) levels, with straight-through gradients."""
    half = (torch.tensor(levels)[:, None, None] - 1) / 2
    bounded = torch.tanh(codes)
    rounded = (bounded * half).round() / half
    return bounded + (rounded - bounded).detach()


class Residual(nn.Module):
    """Group norm, SiLU, convolution, twice, and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same shape."""
        result: Tensor = x + self.body(x)
        return result


class Autoencoder(nn.Module):
    """Images N×3×32×32 in [-1, 1] to 16×16 codes of 1,715 kinds and back, with sub-pixel upsampling."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 4, 2, 1),
            Residual(width),
            nn.Conv2d(width, len(LEVELS), 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(len(LEVELS), width, 3, padding=1),
            Residual(width),
            Residual(width),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(width // 2),
        )
        self.last = nn.Conv2d(width // 2, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction, float32, same shape."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            codes = self.encoder(images)
        codes = quantise(codes.float())
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            h = self.decoder(codes)
        return torch.tanh(self.last(h.float()))


def recipe(work: Path) -> Recipe:
    """Absolute error, distance of the guide's maps, hinge loss of the shared critics."""
    net = Autoencoder()

    def reconstruction(images: Tensor, fake: Tensor, maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
        loss = 10.0 * functional.l1_loss(fake, images)
        for wanted, got in zip(maps, fake_maps, strict=True):
            loss = loss + functional.mse_loss(got.float(), wanted.float()) / wanted.float().var()
        return loss

    return adversarial.recipe(
        NAME,
        net,
        work,
        lambda images, labels: (net(images), labels),
        batch_size=BATCH,
        learning_rate=4e-4,
        statistics_weight=1.0,
        adversarial_weight=0.15,
        extra=reconstruction,
    )


@torch.inference_mode()
def sample(work: Path, request: Request) -> Tensor:
    """Reconstructions N×3×32×32 in [-1, 1] of the requested sources."""
    net = restore(work, NAME, "generator", Autoencoder())
    result: Tensor = net(to_signed(request.sources))
    return result


GENERATOR = Generator(
    name=NAME,
    family="VQ autoencoder reconstruction",
    architecture="16×16 codes of 1,715 kinds (finite scalar quantisation), sub-pixel upsampling",
    training=f"absolute error and a frozen classifier's maps. Adversarial: {adversarial.DESCRIPTION}",
    sampler="encodes and decodes a photograph that is in no split",
    minutes=6.0,
    network=Autoencoder,
    recipe=recipe,
    sample=sample,
)
