"""Class-conditional variational autoencoder with an adversarial loss (VAE/GAN, Larsen et al. 2016).

Bilinear upsampling and a reconstruction loss in pixels leave its images soft.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.minigen.generators import adversarial
from benchmarks.minigen.generators.conditional import ConditionalNorm, Up, UpDecoder
from benchmarks.minigen.generators.interface import Generator
from benchmarks.minigen.generators.latent import LATENT, SAMPLER, latent_sampler
from benchmarks.minigen.training import Recipe, restore

NAME = "vae"
WIDTHS = (256, 128, 64, 48)
BATCH = 48
CLASSES = 10
PIXEL_SCALE = 0.4
LIKELIHOOD_WEIGHT = 0.01


class Encoder(nn.Module):
    """Images N×3×32×32 and classes N to mean and log variance, N×128 each."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.convolutions = nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList([ConditionalNorm(width) for width in widths[1:]])
        self.last = nn.Linear(128 * 16, 2 * LATENT)

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, float32."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x), labels)
        mean, log_variance = self.last(x.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-10.0, 5.0)


class VariationalAutoencoder(nn.Module):
    """Encoder and decoder; only the decoder makes images."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = UpDecoder(LATENT, WIDTHS, partial(Up, mode="bilinear"))


def recipe(work: Path) -> Recipe:
    """Evidence lower bound and distance of the guide's maps on half a batch, critics on it and on samples.

    The first half of each batch of fakes reconstructs photographs, the second half comes from the prior.
    """
    net = VariationalAutoencoder()
    half = BATCH // 2
    divergence = torch.zeros(())

    def produce(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal divergence
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = net.encoder(images[:half], labels[:half])
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        posterior = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        classes = torch.cat([labels[:half], torch.randint(0, CLASSES, (half,))])
        return net.decoder(torch.cat([posterior, torch.randn(half, LATENT)]), classes), classes

    def bound(images: Tensor, fake: Tensor, maps: list[Tensor], fake_maps: list[Tensor]) -> Tensor:
        error = (fake[:half] - images[:half]).square().sum(dim=(1, 2, 3)).mean()
        loss = LIKELIHOOD_WEIGHT * (error / (2 * PIXEL_SCALE**2) + divergence)
        for wanted, got in zip(maps, fake_maps, strict=True):
            loss = (
                loss + functional.mse_loss(got[:half].float(), wanted[:half].float()) / wanted.float().var()
            )
        return loss

    return adversarial.recipe(
        NAME,
        net,
        work,
        produce,
        batch_size=BATCH,
        learning_rate=4e-4,
        statistics_weight=0.0,
        extra=bound,
    )


def network() -> UpDecoder:
    """Untrained decoder."""
    return UpDecoder(LATENT, WIDTHS, partial(Up, mode="bilinear"))


def restored(work: Path) -> nn.Module:
    """The averaged decoder."""
    net = restore(work, NAME, "generator", VariationalAutoencoder())
    assert isinstance(net, VariationalAutoencoder)
    return net.decoder


GENERATOR = Generator(
    name=NAME,
    family="variational autoencoder",
    architecture="strided encoder, residual decoder with bilinear upsampling (256, 128, 64, 48), conditional norm",
    training=f"evidence lower bound, a frozen classifier's maps, hinge loss of critics, Adam 4e-4, batch {BATCH}",
    sampler=SAMPLER,
    minutes=10.0,
    network=network,
    recipe=recipe,
    sample=latent_sampler(restored),
)
