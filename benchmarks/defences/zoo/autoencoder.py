"""A purifier in front of the detector: an autoencoder whose code is rounded to eight levels.

Jia et al. 2019, ComDefend: An Efficient Image Compression Model to Defend Adversarial Examples (CVPR, arXiv:1811.12673).
Broken like all non-differentiable purifiers by a backward pass around the rounding (Athalye, Carlini and Wagner 2018).
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from benchmarks.defences.training import adapt, batches, put_weights, small_parts, take_weights
from robustbench_aigen import Detector


class Purifier(nn.Module):
    """Encodes each block of 2×2 pixels as 24 numbers of eight levels, and decodes them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ELU(), nn.Conv2d(32, 48, 2, stride=2), nn.ELU(),
            nn.Conv2d(48, 24, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(24, 48, 3, padding=1), nn.ELU(), nn.Conv2d(48, 128, 3, padding=1), nn.ELU(),
            nn.PixelShuffle(2), nn.Conv2d(32, 3, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return purified N×3×H×W images."""
        code = torch.sigmoid(self.encoder(x - 0.5))
        decoded: Tensor = self.decoder(torch.round(code * 7) / 7 - 0.5)
        return decoded + 0.5


class PurifiedDetector(nn.Module):
    """The detector of purified images."""

    def __init__(self) -> None:
        super().__init__()
        self.purifier = Purifier()
        self.detector = base_detector()
        take_weights("autoencoder", self)

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        return self.detector(self.purifier(x))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(PurifiedDetector(), name="autoencoder")


def through_levels(purifier: Purifier, x: Tensor) -> Tensor:
    """Return the purified images, with the gradient of the sigmoid in place of the rounding's."""
    soft = torch.sigmoid(purifier.encoder(x - 0.5))
    decoded: Tensor = purifier.decoder(soft + ((soft * 7).round() / 7 - soft).detach() - 0.5)
    return decoded + 0.5


def train() -> None:
    """Train the autoencoder to return its input, then the decoder together with small parts of the detector."""
    torch.manual_seed(0)
    defended = PurifiedDetector()
    defended.purifier = Purifier()
    optimiser = torch.optim.Adam(defended.purifier.parameters())
    for images, _, done in batches(10, limit=None):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, 3 * (1 - done), 0.1 + 10 * done)
        loss = nn.functional.mse_loss(through_levels(defended.purifier, images), images)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print("mean squared error", loss.item())
    own = [f"purifier.{name}" for name, _ in defended.purifier.named_parameters()]
    small = [f"detector.{part}" for part in small_parts(defended.detector)]
    adapt(defended, [name for name in own if "decoder" in name] + small, epochs=3, rate=1e-3, limit=None)
    put_weights("autoencoder", defended, own + small)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the sigmoid in place of the rounding."""
    network = inside(detector)

    def stand_in(pixels: Tensor) -> Tensor:
        return network.detector(through_levels(network.purifier, pixels))

    return descend(detector, stand_in, clean, labels, restarts=12)


DEFENCE = Defence(
    "autoencoder",
    "Jia et al. 2019",
    "Athalye et al. 2018",
    "scores",
    is_random=False,
    build=build,
    attack=attack,
)
