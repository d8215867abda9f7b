"""A wrapper that answers with the label alone.

Papernot et al. 2017, Practical Black-Box Attacks against Machine Learning (AsiaCCS, arXiv:1602.02697), names the hidden
gradients of such a service *gradient masking*, and breaks them with a substitute network.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector


class LabelOnly(nn.Module):
    """Returns 0 for real and 1 for fake, N×1."""

    def __init__(self) -> None:
        super().__init__()
        self.model = base_detector()

    def forward(self, images: Tensor) -> Tensor:
        """Return the labels as the sign of one logit, -1 or 1."""
        answer: Tensor = self.model(images)
        return torch.sign(answer[:, 1:] - answer[:, :1])


def build() -> Detector:
    """Return the defended detector."""
    return Detector(LabelOnly(), name="hard_label")


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Attack the network inside the wrapper."""
    return descend(detector, inside(detector).model, clean, labels)


DEFENCE = Defence(
    "hard_label", "Papernot et al. 2017", "Papernot et al. 2017", "verdicts",
    is_random=False, build=build, attack=attack,
)  # fmt: skip
