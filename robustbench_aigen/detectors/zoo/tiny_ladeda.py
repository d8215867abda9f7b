"""Tiny-LaDeDa (Cavia et al. 2024, arXiv:2406.07398): four convolutions on gradients or on neighbouring-pixel relations."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.zoo.npr import neighbour_relations

INPUT_SIZE = (256, 256)
NORMALISATION = IMAGENET
PREPROCESSING: Mapping[str, Any] = {"resample": "bilinear", "eight_bit": True}

Front = Literal["gradient", "npr"]
_DIAGONAL = ((-2.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 2.0))
"""The gradient along the right diagonal."""


class TinyLaDeDa(nn.Module):
    """A front that keeps differences of neighbouring pixels, four convolutions of eight channels, one sigmoid unit.

    The names are those of the authors' checkpoints. A feature sees 9×9 pixels.

    Parameters
    ----------
    front
        ``gradient``, along the right diagonal (checkpoint WildRF), or ``npr``, x minus x halved and doubled by nearest
        neighbour (checkpoint ForenSynth). The authors' code leaves the choice open; the variances in the first batch
        norm of each checkpoint decide.
    """

    kernel: Tensor

    def __init__(self, front: Front = "gradient") -> None:
        super().__init__()
        if front not in ("gradient", "npr"):
            raise ValueError(f"front is gradient or npr, not {front!r}")
        self.front = front
        kernel = torch.tensor(_DIAGONAL).expand(3, 1, 3, 3).clone()
        self.register_buffer("kernel", kernel, persistent=False)
        self.conv1 = nn.Conv2d(3, 8, 1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(_PatchBlock())
        self.fc = nn.Linear(8, 1)
        self.two_logits = TwoLogits()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        if self.front == "gradient":
            differences = functional.conv2d(images, self.kernel, padding=1, groups=3)
        else:
            differences = neighbour_relations(images)
        features = self.layer1(self.relu(self.bn1(self.conv2(self.conv1(differences)))))
        logits: Tensor = self.two_logits(self.fc(features.mean(dim=(2, 3))))
        return logits


class _PatchBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(features)))
        outer: Tensor = self.relu(self.bn2(self.conv2(inner)))
        return outer


def build(front: Front = "gradient") -> TinyLaDeDa:
    """Build the network with one of its two fronts."""
    return TinyLaDeDa(front)
