"""DCGAN (Radford et al. 2016): transposed convolutions only, with class-conditional batch normalisation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.minigen.generators import adversarial
from benchmarks.minigen.generators.conditional import ConditionalNorm
from benchmarks.minigen.generators.interface import Generator
from benchmarks.minigen.generators.latent import LATENT, SAMPLER, latent_sampler
from benchmarks.minigen.training import Recipe, restore

NAME = "dcgan"
BATCH = 32
WIDTHS = (384, 192, 96)


class Synthesis(nn.Module):
    """Latent N×128 and classes N to images N×3×32×32 in [-1, 1]; 4×4 kernels, stride 2, three times."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, widths[0] * 16)
        self.norms = nn.ModuleList([ConditionalNorm(width) for width in widths])
        self.ups = nn.ModuleList([nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairwise(widths)])
        self.last = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """The images, float32: the last layer runs in full precision so that no level is lost to bfloat16."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            h = self.norms[0](self.first(z).view(len(z), -1, 4, 4), labels)
            for up, norm in zip(self.ups, self.norms[1:], strict=True):
                h = norm(up(h), labels)
        return torch.tanh(self.last(h.float()))


def recipe(work: Path) -> Recipe:
    """Adversarial training with the shared critics."""
    generator = Synthesis()
    return adversarial.recipe(
        NAME,
        generator,
        work,
        adversarial.from_noise(generator, LATENT),
        batch_size=BATCH,
        learning_rate=4e-4,
        statistics_weight=6.0,
        averaging=0.99,
    )


def restored(work: Path) -> nn.Module:
    """The averaged weights."""
    return restore(work, NAME, "generator", Synthesis())


GENERATOR = Generator(
    name=NAME,
    family="GAN, transposed convolutions",
    architecture="dense start at 4×4, three transposed convolutions (384, 192, 96), conditional batch norm",
    training=adversarial.DESCRIPTION,
    sampler=SAMPLER,
    minutes=23.0,
    network=Synthesis,
    recipe=recipe,
    sample=latent_sampler(restored),
)
