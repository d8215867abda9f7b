"""A detector that rounds four features and looks its answer up in a table: steps without a gradient.

Goodfellow 2018, Gradient Masking Causes CLEVER to Overestimate Adversarial Perturbation Size (arXiv:1804.07870), builds
such staircases on purpose; Papernot et al. 2017 (arXiv:1602.02697) names nearest neighbours and tables as cases of gradient
masking. Broken by gradients of the features before the rounding.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from benchmarks.defences.judging import balanced_images
from benchmarks.defences.training import WEIGHTS
from robustbench_aigen import Detector

CELLS = 10


class TableDetector(nn.Module):
    """Looks the probability of fake up in a table of 10×10×10×10 cells."""

    directions: Tensor
    lowest: Tensor
    width: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.base = base_detector()
        file = WEIGHTS / "lookup.safetensors"
        stored = load_file(file) if file.is_file() else {}
        self.register_buffer("directions", stored.get("directions", torch.zeros(256, 4)).float())
        self.register_buffer("lowest", stored.get("lowest", torch.zeros(4)).float())
        self.register_buffer("width", stored.get("width", torch.ones(4)).float())
        self.table = stored.get("table", torch.zeros([CELLS] * 4, dtype=torch.uint8)).numpy()

    def features(self, x: Tensor) -> Tensor:
        """Return N×4 projections of the features before the last layer."""
        network = self.base.network
        hidden = network.head[:-1](network.features(self.base.normalised(x)))
        return hidden @ self.directions

    def cell(self, features: Tensor) -> NDArray[np.int64]:
        """Return the N×4 cells of the table."""
        place = ((features - self.lowest) / self.width).floor().clamp(0, CELLS - 1)
        return place.detach().cpu().numpy().astype(np.int64)

    def forward(self, x: Tensor) -> Tensor:
        """Return N×1 probabilities of fake."""
        found = self.table[tuple(self.cell(self.features(x)).T)]
        return torch.from_numpy(found[:, None].astype(np.float32) / 255).to(x.device)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(TableDetector(), outputs="probabilities", name="lookup")


@torch.no_grad()
def train() -> None:
    """Fill the table: in each cell the share of fakes among the training images nearest to its centre."""
    network = TableDetector()
    _, pixels, labels = balanced_images("train", None)
    network.directions = torch.eye(256)
    hidden = torch.cat([network.features(part) for part in pixels.split(100)])
    centred = hidden - hidden.mean(0)
    # Three principal components, and the difference of the means.
    apart = nn.functional.normalize(hidden[labels == 1].mean(0) - hidden[labels == 0].mean(0), dim=0)
    rest = centred - (centred @ apart)[:, None] * apart
    directions = torch.cat([apart[:, None], torch.linalg.svd(rest, full_matrices=False).Vh[:3].T], 1)
    features = hidden @ directions
    lowest, highest = features.quantile(0.01, dim=0), features.quantile(0.99, dim=0)
    width = (highest - lowest) / CELLS
    places = torch.cartesian_prod(*[torch.arange(CELLS) + 0.5] * 4)
    distance = torch.cdist(places, (features - lowest) / width)
    nearest = labels[distance.topk(7, largest=False).indices].float().mean(1)
    table = (nearest * 255).round().to(torch.uint8).view([CELLS] * 4)
    save_file(
        {"directions": directions.contiguous(), "lowest": lowest, "width": width, "table": table},
        WEIGHTS / "lookup.safetensors",
    )


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the last layer that the table replaced: images of its other class have cells of the other class."""
    network = inside(detector)
    return descend(detector, network.base, clean, labels)


DEFENCE = Defence(
    "lookup", "Goodfellow 2018", "Papernot et al. 2017", "scores", is_random=False, build=build, attack=attack
)
