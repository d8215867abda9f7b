"""Residual GAN with nearest-neighbour upsampling (SNGAN's generator, Miyato et al. 2018, narrower)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from benchmarks.minigen.generators import adversarial
from benchmarks.minigen.generators.conditional import Up, UpDecoder
from benchmarks.minigen.generators.interface import Generator
from benchmarks.minigen.generators.latent import LATENT, SAMPLER, latent_sampler
from benchmarks.minigen.training import Recipe, restore

NAME = "upgan"
BATCH = 64
WIDTHS = (256, 128, 64, 48)


def network() -> UpDecoder:
    """Untrained generator."""
    return UpDecoder(LATENT, WIDTHS, partial(Up, mode="nearest"))


def recipe(work: Path) -> Recipe:
    """Adversarial training with the shared critics."""
    generator = network()
    return adversarial.recipe(
        NAME,
        generator,
        work,
        adversarial.from_noise(generator, LATENT),
        batch_size=BATCH,
        learning_rate=4e-4,
        statistics_weight=6.0,
    )


def restored(work: Path) -> nn.Module:
    """The averaged weights."""
    return restore(work, NAME, "generator", network())


GENERATOR = Generator(
    name=NAME,
    family="GAN, nearest-neighbour upsampling",
    architecture="residual blocks, nearest-neighbour upsampling (256, 128, 64, 48), conditional batch norm",
    training=adversarial.DESCRIPTION,
    sampler=SAMPLER,
    minutes=14.0,
    network=network,
    recipe=recipe,
    sample=latent_sampler(restored),
)
