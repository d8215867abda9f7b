"""CNNSpot (Wang et al. 2020, arXiv:1912.11035): ResNet-50 trained on ProGAN with blur and JPEG augmentation."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchvision.models.resnet import Bottleneck, ResNet

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.normalisation import IMAGENET

INPUT_SIZE = None
NORMALISATION = IMAGENET
PREPROCESSING: Mapping[str, Any] = {}


class CNNSpot(ResNet):  # type: ignore[misc]  # torchvision is untyped.
    """ResNet-50 with one sigmoid unit, under the names of its authors' checkpoint.

    It takes the whole image at its own size, which the authors recommend since June 2020 (their repository,
    section 5). The paper crops the centre: ``input_size: 224`` with ``crop: center``.
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=1)
        self.two_logits = TwoLogits()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.two_logits(super().forward(images))
        return logits


def build() -> CNNSpot:
    """Build the network."""
    return CNNSpot()
