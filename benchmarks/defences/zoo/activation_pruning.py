"""Stochastic activation pruning: activations are kept at random, large activations more often.

Dhillon et al. 2018, Stochastic Activation Pruning for Robust Adversarial Defense (ICLR, arXiv:1803.01442). Broken by
Athalye, Carlini and Wagner 2018: an average over draws is enough.
"""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

SHARE = 1.0
"""Draws per activation."""


def prune(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """Keep each activation with its probability of being drawn, and divide by this probability (algorithm 1)."""
    flat = output.flatten(1)
    probability = flat.abs() / (flat.abs().sum(1, keepdim=True) + 1e-8)
    drawn = SHARE * flat.shape[1]
    kept = 1 - (1 - probability) ** drawn
    mask = torch.rand_like(kept) < kept
    return (flat * mask / (kept + 1e-8)).view_as(output)


def with_pruning(detector: Any) -> Any:
    """Prune behind every ReLU of the convolutions."""
    for module in detector.network.features:
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(prune)
    return detector


class PrunedDetector(nn.Module):
    """The detector with pruned activations."""

    def __init__(self) -> None:
        super().__init__()
        self.net = with_pruning(base_detector("activation_pruning"))

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.net(x)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(PrunedDetector(), name="activation_pruning")


def train() -> None:
    """Train the detector with pruning."""
    defended = PrunedDetector()
    train_behind("activation_pruning", defended, defended.net)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Add the gradient of the detector without pruning, which is its mean, to an average over draws."""
    unpruned = base_detector("activation_pruning")

    def stand_in(pixels: Tensor) -> Tensor:
        return unpruned(pixels) + detector.network(pixels)

    return descend(detector, stand_in, clean, labels, steps=60, restarts=2, draws=4, judged=8)


DEFENCE = Defence(
    "activation_pruning", "Dhillon et al. 2018", "Athalye et al. 2018", "scores",
    is_random=True, build=build, attack=attack,
)  # fmt: skip
