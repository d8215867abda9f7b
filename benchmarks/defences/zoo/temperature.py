"""Logits of a very low temperature: their cross-entropy is exactly zero in float32.

Papernot et al. 2016, Distillation as a Defense to Adversarial Perturbations (IEEE S&P, arXiv:1511.04508), whose detector
runs at a hundredth of the temperature of its training. Broken by Carlini and Wagner 2017, Towards Evaluating the
Robustness of Neural Networks, with the logits before the softmax.
"""

from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector


class Scaled(nn.Module):
    """Divides logits by a temperature."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.model(x) / self.temperature


def build() -> Detector:
    """Return the defended detector."""
    return Detector(Scaled(base_detector(), 1e-3), name="temperature")


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the margin of the logits before the division."""
    return descend(detector, inside(detector).model, clean, labels)


DEFENCE = Defence(
    "temperature", "Papernot et al. 2016", "Carlini and Wagner 2017", "scores",
    is_random=False, build=build, attack=attack,
)  # fmt: skip
