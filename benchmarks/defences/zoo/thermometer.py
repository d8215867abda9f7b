"""Thermometer encoding: each channel becomes sixteen comparisons, whose gradient is zero.

Buckman et al. 2018, Thermometer Encoding: One Hot Way To Resist Adversarial Examples (ICLR). Broken by Athalye, Carlini
and Wagner 2018 with a smooth encoding on the way back.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from benchmarks.defences.training import adapt, put_weights, small_parts, take_weights
from robustbench_aigen import Detector

LEVELS = 16


class ThermometerDetector(nn.Module):
    """The detector with a first convolution over the comparisons of each channel."""

    thresholds: Tensor

    def __init__(self) -> None:
        super().__init__()
        base = base_detector().network
        first = base.features[0]
        self.encoded = nn.Conv2d(3 * LEVELS, first.out_channels, 3, padding=1)
        bias = self.encoded.bias
        assert bias is not None
        # A sum of comparisons is the rounded pixel, so the training begins at the detector of rounded pixels.
        with torch.no_grad():
            self.encoded.weight.copy_((2 / LEVELS * first.weight).repeat_interleave(LEVELS, dim=1))
            # The encoding of zero is no comparison, where the normalised pixel is -1.
            bias.copy_(first.bias - first.weight.sum((1, 2, 3)))
        self.features, self.head = base.features[1:], base.head
        self.register_buffer("thresholds", (torch.arange(LEVELS) + 0.5) / LEVELS)
        take_weights("thermometer", self)

    def encode(self, x: Tensor) -> Tensor:
        """Return 48 comparisons for the three channels of each pixel."""
        return (x.unsqueeze(2) - self.thresholds.view(-1, 1, 1)).ceil().clamp(0, 1).flatten(1, 2)

    def classify(self, code: Tensor) -> Tensor:
        """Return N×2 logits of encoded images."""
        logits: Tensor = self.head(self.features(self.encoded(code)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.classify(self.encode(x))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(ThermometerDetector().eval(), name="thermometer")


def train() -> None:
    """Train the first convolution, the batch norms and the last layer."""
    defended = ThermometerDetector()
    parts = [*small_parts(defended), "encoded.weight", "encoded.bias"]
    adapt(defended, parts, rate=1e-3)
    put_weights("thermometer", defended, parts)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Pass gradients through a smooth comparison."""
    network = inside(detector)

    def stand_in(pixels: Tensor) -> Tensor:
        smooth = ((pixels.unsqueeze(2) - network.thresholds.view(-1, 1, 1)) * 40).sigmoid().flatten(1, 2)
        return network.classify(smooth + (network.encode(pixels) - smooth).detach())

    return descend(detector, stand_in, clean, labels)


DEFENCE = Defence(
    "thermometer", "Buckman et al. 2018", "Athalye et al. 2018", "scores",
    is_random=False, build=build, attack=attack,
)  # fmt: skip
