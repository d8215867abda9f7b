"""Probabilities of a saturated softmax: 0 and 1 in float32, without a gradient.

Papernot et al. 2016, Distillation as a Defense to Adversarial Perturbations (IEEE S&P, arXiv:1511.04508), seen through a
service that returns probabilities. Broken by Carlini and Wagner 2017 with the logits before the softmax.
"""

from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector


class Distilled(nn.Module):
    """Returns the probability of each class at a temperature of 1/100."""

    def __init__(self) -> None:
        super().__init__()
        self.student = base_detector()

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 probabilities."""
        return (self.student(x) * 100).softmax(dim=1)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(Distilled(), outputs="probabilities", name="saturated_softmax")


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the logits before the softmax."""
    return descend(detector, inside(detector).student, clean, labels)


DEFENCE = Defence(
    "saturated_softmax", "Papernot et al. 2016", "Carlini and Wagner 2017", "scores",
    is_random=False, build=build, attack=attack,
)  # fmt: skip
