"""NPR (Tan et al. 2024, arXiv:2312.10461): a truncated ResNet-50 on neighbouring-pixel relationships."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models import resnet50

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.mean_in_tiles import MeanInTiles, hide_level
from robustbench_aigen.detectors.normalisation import IMAGENET

INPUT_SIZE = None
NORMALISATION = IMAGENET
PREPROCESSING: Mapping[str, Any] = {}


class NPR(nn.Module):
    """x − up(down(x)), by nearest neighbour and a factor of 2, into a ResNet-50 that ends after its second stage.

    The names are those of the authors' checkpoint. Images keep their own size, less a last odd row or column, as in
    the authors' AIGCDetectBenchmark figures; for their other test sets they resized to 256×256, for the sake of
    batches, which an ``input_size`` does here too.
    """

    def __init__(self) -> None:
        super().__init__()
        # A feature depends on 43 pixels on each side: 3 in front, 12 in the first stage, 28 in the second.
        self.local = MeanInTiles(_RelationFeatures(), stride=8, reach=48)
        self.fc1 = nn.Linear(512, 1)
        self.two_logits = TwoLogits()
        hide_level(self, "local.body.")

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.two_logits(self.fc1(self.local(neighbour_relations(images) * (2 / 3))))
        return logits


class _RelationFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        whole = resnet50(weights=None)
        self.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1, self.relu, self.maxpool = whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2 = whole.layer1, whole.layer2

    def forward(self, relations: Tensor) -> Tensor:
        features = self.maxpool(self.relu(self.bn1(self.conv1(relations))))
        deeper: Tensor = self.layer2(self.layer1(features))
        return deeper


def neighbour_relations(images: Tensor) -> Tensor:
    """Return the difference of each pixel from the upper left pixel of its 2×2 block, N×3×H×W with even H and W."""
    height, width = images.shape[2] // 2 * 2, images.shape[3] // 2 * 2
    even = images[:, :, :height, :width]
    corners = even[:, :, ::2, ::2]
    return even - corners.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def build() -> NPR:
    """Build the network."""
    return NPR()
