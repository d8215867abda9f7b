"""A median filter in front of the detector, computed by SciPy: no gradient.

Xu, Evans and Qi 2018, Feature Squeezing (NDSS, arXiv:1704.01155), local smoothing. Broken by He et al. 2017; the
reference differentiates the same median in torch.
"""

import torch
from scipy.ndimage import median_filter
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.defences.base import base_detector, inside, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector


class MedianDefence(nn.Module):
    """The detector behind a median over 3×3 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = base_detector("median")

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2 logits."""
        smooth = median_filter(images.detach().cpu().numpy(), size=(1, 1, 3, 3))
        return self.classifier(torch.from_numpy(smooth).to(images.device))


def build() -> Detector:
    """Return the defended detector."""
    return Detector(MedianDefence(), name="median")


def train() -> None:
    """Train the detector behind the filter."""
    defended = MedianDefence()
    train_behind("median", defended, defended.classifier)


def median_in_torch(images: Tensor) -> Tensor:
    """Return the median over 3×3 pixels, with the gradient of the pixel that is the median."""
    padded = functional.pad(images, [1] * 4, mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(-1).values


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the same median in torch."""
    network = inside(detector)
    return descend(detector, lambda pixels: network.classifier(median_in_torch(pixels)), clean, labels)


DEFENCE = Defence(
    "median", "Xu et al. 2018", "He et al. 2017", "scores", is_random=False, build=build, attack=attack
)
