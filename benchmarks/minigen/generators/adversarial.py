"""What the adversarially trained generators share: critics, the statistics regulariser, the training step.

A critic on pixels with spectral normalisation (Miyato et al. 2018) and projected class (Miyato & Koyama
2018) sees texture; small critics on the maps of a frozen classifier (Projected GAN, Sauer et al. 2021) see
content early, which makes up for a short training.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.minigen.classifier import GUIDE, Guide
from benchmarks.minigen.classifier import load as load_classifier
from benchmarks.minigen.statistics import COUNT, statistics
from benchmarks.minigen.training import Recipe, decay_at_end

CLASSES = 10
DESCRIPTION = (
    "hinge loss of critics on pixels and on a frozen classifier's maps, channel moments and spectra matched, "
    "Adam 4e-4, batches of 32 to 64"
)


class Critic(nn.Module):
    """Stack of strided 4×4 convolutions, a linear score and the inner product with a class vector."""

    def __init__(self, stem: list[nn.Module], widths: tuple[int, ...]) -> None:
        super().__init__()
        layers = list(stem)
        for inputs, outputs in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Conv2d(widths[-1], 1, 1))
        self.classes = spectral_norm(nn.Embedding(CLASSES, widths[-1]))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """N×C×H×W and N classes to a score per position, N×H'×W'."""
        h = self.body(x)
        result: Tensor = self.score(h)[:, 0] + (h * self.classes(labels)[:, :, None, None].to(h.dtype)).sum(
            dim=1
        )
        return result


class Critics(nn.Module):
    """One critic on pixels and one on each of the guide's three maps."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        stem = [spectral_norm(nn.Conv2d(3, width, 3, 1, 1)), nn.LeakyReLU(0.2)]
        self.pixels = Critic(stem, (width, 2 * width, 4 * width, 8 * width))
        self.maps = nn.ModuleList([Critic([], (48, 64, 128)), Critic([], (96, 128)), Critic([], (192, 192))])

    def forward(self, images: Tensor, maps: list[Tensor], labels: Tensor) -> list[Tensor]:
        """Scores of the four critics, in float32."""
        scores = [self.pixels(images, labels)]
        scores += [critic(found, labels) for critic, found in zip(self.maps, maps, strict=True)]
        return [score.float() for score in scores]


class StatisticsMatch(nn.Module):
    """Distance between a batch's mean statistics and the reals' (after Durall et al. 2020).

    The reals' mean and standard deviation are running averages; the distance is the Huber loss of the
    difference in means, in units of the reals' standard deviation, and of the log ratio of standard deviations.
    """

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(COUNT))
        self.register_buffer("square", torch.ones(COUNT))
        self.register_buffer("seen", torch.zeros(()))

    @torch.no_grad()
    def observe(self, images: Tensor) -> None:
        """Take a batch of reals into the running averages."""
        found = statistics(images)
        self.seen += 1
        share = 1.0 / min(float(self.seen), 500.0)
        self.mean.lerp_(found.mean(dim=0), share)
        self.square.lerp_(found.square().mean(dim=0), share)

    def forward(self, images: Tensor) -> Tensor:
        """Scalar distance of a batch of generated images."""
        found = statistics(images)
        deviation = (self.square - self.mean.square()).clamp(min=1e-4).sqrt()
        off_mean = (found.mean(dim=0) - self.mean) / deviation
        off_spread = torch.log(found.std(dim=0) / deviation + 1e-3)
        none = torch.zeros(COUNT)
        return functional.smooth_l1_loss(off_mean, none) + 0.25 * functional.smooth_l1_loss(off_spread, none)


Produce = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Extra = Callable[[Tensor, Tensor, list[Tensor], list[Tensor]], Tensor]


def from_noise(generator: nn.Module, latent: int) -> Produce:
    """Images of random classes from normal latent vectors, whatever the reals are."""

    def produce(images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        classes = torch.randint(0, CLASSES, (len(images),))
        return generator(torch.randn(len(images), latent), classes), classes

    return produce


def recipe(
    name: str,
    generator: nn.Module,
    work: Path,
    produce: Produce,
    *,
    batch_size: int,
    learning_rate: float,
    statistics_weight: float,
    adversarial_weight: float = 1.0,
    averaging: float = 0.996,
    extra: Extra | None = None,
) -> Recipe:
    """Hinge-loss training, critics and generator once per batch.

    ``produce(images, labels)`` gives fakes (float32, in [-1, 1]) and their classes; ``extra(images, fakes,
    maps, fake maps)`` a further loss for the generator, such as a reconstruction's.
    """
    guide = load_classifier(work, GUIDE)
    assert isinstance(guide, Guide)
    critics, match = Critics(), StatisticsMatch()
    optimizers: dict[str, torch.optim.Optimizer] = {
        "generator": torch.optim.Adam(generator.parameters(), lr=learning_rate, betas=(0.5, 0.99)),
        "critics": torch.optim.Adam(critics.parameters(), lr=learning_rate, betas=(0.5, 0.99)),
    }

    def judge(
        images: Tensor, fake: Tensor, maps: list[Tensor], fake_maps: list[Tensor], classes: Tensor
    ) -> Tensor:
        """The critics' hinge loss over reals and fakes."""
        both = [torch.cat([a, b.detach()]) for a, b in zip(maps, fake_maps, strict=True)]
        loss = torch.zeros(())
        for score in critics(torch.cat([images, fake.detach()]), both, classes):
            real, made = score.chunk(2)
            loss = loss + functional.relu(1.0 - real).mean() + functional.relu(1.0 + made).mean()
        return loss

    def step(images: Tensor, labels: Tensor) -> dict[str, float]:
        match.observe(images)
        fake, classes = produce(images, labels)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                maps = guide.maps(images)
            fake_maps = guide.maps(fake)
            critics.requires_grad_(True)
            loss = judge(images, fake, maps, fake_maps, torch.cat([labels, classes]))
        optimizers["critics"].zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizers["critics"].step()
        critics.requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            judged = critics(fake, fake_maps, classes)
        fooled = -sum((score.mean() for score in judged), torch.zeros(()))
        distance = match(fake)
        wanted = adversarial_weight * fooled + statistics_weight * distance
        figures = {"critics": loss.item(), "fooled": -fooled.item(), "statistics": distance.item()}
        if extra is not None:
            further = extra(images, fake, maps, fake_maps)
            figures["extra"] = further.item()
            wanted = wanted + further
        optimizers["generator"].zero_grad(set_to_none=True)
        torch.autograd.backward(wanted)
        optimizers["generator"].step()
        return figures

    return Recipe(
        name,
        {"generator": generator, "critics": critics, "match": match},
        optimizers,
        step,
        batch_size,
        averaged=("generator",),
        decay=averaging,
        lr_factor=decay_at_end,
    )
