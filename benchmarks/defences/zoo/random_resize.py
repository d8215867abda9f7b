"""A random resize and random padding in front of the detector, drawn by Python's ``random``.

Xie et al. 2018, Mitigating Adversarial Effects Through Randomization (ICLR, arXiv:1711.01991). Broken by Athalye, Carlini
and Wagner 2018 with expectation over transformation.
"""

import random

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from benchmarks.defences.base import base_detector, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

SMALLEST, SIZE = 24, 32


def resize_and_pad(image: Tensor) -> Tensor:
    """Return one 3×32×32 image that is resized at random and surrounded by black at random."""
    size = random.randint(SMALLEST, SIZE - 1)  # noqa: S311  Nothing here is secret.
    small = interpolate(image[None], size=(size, size), mode="nearest")[0]
    left, top = random.randint(0, SIZE - size), random.randint(0, SIZE - size)  # noqa: S311
    return pad(small, [left, SIZE - size - left, top, SIZE - size - top])


class RandomizedDetector(nn.Module):
    """Every image is resized and padded on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.model = base_detector("random_resize")

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.model(torch.stack([resize_and_pad(image) for image in x]))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(RandomizedDetector(), name="random_resize")


def train() -> None:
    """Train the detector behind the resize."""
    random.seed(0)
    defended = RandomizedDetector()
    train_behind("random_resize", defended, defended.model)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Average the gradient over draws."""
    return descend(detector, detector.network, clean, labels, steps=60, restarts=2, draws=16, judged=10)


DEFENCE = Defence(
    "random_resize", "Xie et al. 2018", "Athalye et al. 2018", "scores",
    is_random=True, build=build, attack=attack,
)  # fmt: skip
