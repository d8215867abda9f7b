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
        neighbour (checkpoint ForenSynth). The authors' code leaves the choice open; :func:`options_of_weights` reads
        it from a checkpoint.
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


def options_of_weights(weights: Mapping[str, Tensor]) -> dict[str, Front]:
    """Return the front that weights were trained with.

    The first batch norm keeps the variance of its input. Per squared weight of the two convolutions before it, this is
    the variance that the front had: 1.7 in the checkpoint WildRF, which was trained on gradients, and 0.006 in ForenSynth,
    which was trained on neighbouring-pixel relations.
    """
    filters = torch.einsum(
        "omhw,mi->oihw", weights["conv2.weight"], weights["conv1.weight"].flatten(1)
    ).float()
    variance = weights["bn1.running_var"].float().mean() / filters.square().sum(dim=(1, 2, 3)).mean()
    return {"front": "npr" if variance < _LEAST_VARIANCE_OF_GRADIENTS else "gradient"}


_LEAST_VARIANCE_OF_GRADIENTS = 0.1
"""Between 0.006 and 1.7, at the geometric mean of the two."""
