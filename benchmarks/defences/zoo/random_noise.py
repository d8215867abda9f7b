"""Gaussian noise in front of the detector.

Qin et al. 2021, Random Noise Defense Against Query-Based Black-Box Attacks (NeurIPS, arXiv:2104.11470). Broken like all
random inputs by expectation over transformation (Athalye, Carlini and Wagner 2018).
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

SIGMA = 10 / 255


class NoisyInput(nn.Module):
    """Adds noise to its input."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Return noisy pixels."""
        return x + self.sigma * torch.randn_like(x)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(nn.Sequential(NoisyInput(SIGMA), base_detector("random_noise")), name="random_noise")


def train() -> None:
    """Train the detector behind the noise."""
    defended = inside(build())
    train_behind("random_noise", defended, defended[1])


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Average the gradient over draws."""
    return descend(detector, detector.network, clean, labels, steps=60, restarts=2, draws=16, judged=10)


DEFENCE = Defence(
    "random_noise",
    "Qin et al. 2021",
    "Athalye et al. 2018",
    "scores",
    is_random=True,
    build=build,
    attack=attack,
)
