"""Fewer bits per channel in front of the detector: the rounding has a gradient of zero.

Xu, Evans and Qi 2018, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks (NDSS,
arXiv:1704.01155). Broken by He et al. 2017, Adversarial Example Defenses: Ensembles of Weak Defenses are not Strong.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

BITS = 4


def reduce_bit_depth(x: Tensor, bits: int) -> Tensor:
    """Round pixels in [0, 1] to ``2**bits`` values."""
    largest = 2**bits - 1
    return torch.round(x * largest) / largest


class SqueezedDetector(nn.Module):
    """The detector sees few values per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.model = base_detector("bit_depth")

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.model(reduce_bit_depth(x, BITS))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(SqueezedDetector(), name="bit_depth")


def train() -> None:
    """Train the detector behind the rounding."""
    defended = SqueezedDetector()
    train_behind("bit_depth", defended, defended.model)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Take the gradient at the rounded image, as if the rounding were not there."""
    network = inside(detector)

    def stand_in(pixels: Tensor) -> Tensor:
        return network.model(pixels + (reduce_bit_depth(pixels, BITS) - pixels).detach())

    return descend(detector, stand_in, clean, labels)


DEFENCE = Defence(
    "bit_depth", "Xu et al. 2018", "He et al. 2017", "scores", is_random=False, build=build, attack=attack
)
