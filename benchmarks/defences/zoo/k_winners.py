"""k-winners-take-all in place of every ReLU: a function with jumps, whose gradient leads nowhere.

Xiao, Zhong and Zheng 2020, Enhancing Adversarial Defense by k-Winners-Take-All (ICLR, arXiv:1905.10510). Broken by Tramèr
et al. 2020, On Adaptive Attacks to Adversarial Example Defenses, section 5, with gradients averaged around the image.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from benchmarks.defences.training import take_weights
from robustbench_aigen import Detector

SHARE = 0.1


class KWinners(nn.Module):
    """Keeps the largest share of all activations of an image, and sets the others to zero."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return activations of the same shape."""
        flat = x.flatten(1)
        k = max(1, int(self.share * flat.shape[1]))
        smallest = flat.topk(k, dim=1).values[:, -1:]
        return (flat * (flat >= smallest)).view_as(x)


class KWinnersDetector(nn.Module):
    """The detector with other activations in its convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.net = base_detector()
        layers = self.net.network.features
        for place, layer in enumerate(layers):
            if isinstance(layer, nn.ReLU):
                layers[place] = KWinners(SHARE)
        take_weights("k_winners", self.net)

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.net(x)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(KWinnersDetector(), name="k_winners")


def train() -> None:
    """Train the detector with its new activations."""
    defended = KWinnersDetector()
    train_behind("k_winners", defended, defended.net)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Average the gradient over noise around the image."""

    def stand_in(pixels: Tensor) -> Tensor:
        return detector.network(pixels + torch.randn_like(pixels) * 4 / 255)

    return descend(detector, stand_in, clean, labels, steps=40, draws=10, restarts=2)


DEFENCE = Defence(
    "k_winners",
    "Xiao et al. 2020",
    "Tramèr et al. 2020",
    "scores",
    is_random=False,
    build=build,
    attack=attack,
)
