"""k-winners-take-all in place of every ReLU: a function with jumps, whose gradient leads nowhere.

Xiao, Zhong and Zheng 2020, Enhancing Adversarial Defense by k-Winners-Take-All (ICLR, arXiv:1905.10510). Broken by Tramèr
et al. 2020, On Adaptive Attacks to Adversarial Example Defenses, section 5, with gradients averaged around the image.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from benchmarks.defences.training import adapt, put_weights, take_weights
from robustbench_aigen import Detector

SHARE = 0.1


class KWinners(nn.Module):
    """Keeps the largest share of all activations of an image, and sets the others to zero."""

    def __init__(self, share: float = SHARE) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return activations of the same shape."""
        flat = x.flatten(1)
        k = max(1, int(self.share * flat.shape[1]))
        smallest = flat.topk(k, dim=1).values[:, -1:]
        return (flat * (flat >= smallest)).view_as(x)


class KWinnersNet(nn.Sequential):
    """Four convolutions with k-winners-take-all, trained from scratch: 70,000 parameters."""

    def __init__(self) -> None:
        widths, layers = [3, 32, 48, 64, 64], []
        for place in range(4):
            step = 1 if place == 0 else 2
            layers += [
                nn.Conv2d(widths[place], widths[place + 1], 3, stride=step, padding=1),
                nn.BatchNorm2d(widths[place + 1]),
                KWinners(),
            ]
        super().__init__(*layers, nn.Flatten(), nn.Linear(64 * 16, 2))
        take_weights("k_winners", self)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(KWinnersNet().eval(), mean=(0.5,) * 3, std=(0.25,) * 3, name="k_winners")


def train() -> None:
    """Train the network."""
    torch.manual_seed(0)
    network = KWinnersNet()
    for layer in network:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    detector = Detector(network, mean=(0.5,) * 3, std=(0.25,) * 3)
    parts = [f"network.{name}" for name, _ in network.named_parameters()]
    adapt(detector, parts, epochs=12, rate=3e-3, limit=None)
    put_weights("k_winners", network, [name for name, _ in network.named_parameters()])


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Average the gradient over noise around the image."""

    def stand_in(pixels: Tensor) -> Tensor:
        return detector(pixels + torch.randn_like(pixels) * 4 / 255)

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
