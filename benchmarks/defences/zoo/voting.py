"""Three detectors that vote, and whose majority is the answer.

Strauss et al. 2017, Ensemble Methods as a Defense to Adversarial Perturbations Against Deep Neural Networks
(arXiv:1709.03423). Broken by He et al. 2017, Ensembles of Weak Defenses are not Strong.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import inside
from benchmarks.defences.defence import BASE, Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector, load_detector

MEMBERS = (BASE, "minigen/lenet5", "minigen/cifake_cnn+pgd")


class Committee(nn.Module):
    """Counts the votes for fake."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(load_detector(name) for name in MEMBERS)

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2 logits: one for the label with two votes or three, zero for the other."""
        votes = torch.stack([member(images).argmax(dim=1) for member in self.members]).sum(dim=0)
        return nn.functional.one_hot((votes >= 2).long(), 2).float()


def build() -> Detector:
    """Return the defended detector."""
    return Detector(Committee(), name="voting")


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the median of the members' log-odds, whose sign is the majority, and a little of each member."""
    network = inside(detector)

    def stand_in(pixels: Tensor) -> Tensor:
        logits = torch.stack([member(pixels) for member in network.members])
        odds = logits[..., 1] - logits[..., 0]
        majority = odds.median(0).values + 0.3 * (odds / 3).tanh().sum(0)
        return torch.stack([torch.zeros_like(majority), majority], 1)

    return descend(detector, stand_in, clean, labels)


DEFENCE = Defence(
    "voting", "Strauss et al. 2017", "He et al. 2017", "verdicts", is_random=False, build=build, attack=attack
)
