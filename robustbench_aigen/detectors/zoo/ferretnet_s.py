"""FerretNet-S (Liang et al. 2025, NeurIPS; xigua7105/FerretNet): differences from the median of the neighbours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from robustbench_aigen.detectors import medians
from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.mean_in_tiles import MeanInTiles, hide_level
from robustbench_aigen.detectors.normalisation import CLIP

INPUT_SIZE = (256, 256)
NORMALISATION = CLIP
PREPROCESSING: Mapping[str, Any] = {"crop": "center"}


class FerretNetS(nn.Module):
    """x minus the median of its neighbours, into a network of depthwise and dilated convolutions; one sigmoid unit.

    The names are those of the authors' checkpoint. Images of any size are taken; the authors crop the centre 256×256.
    """

    def __init__(self) -> None:
        super().__init__()
        # A feature depends on 63 pixels on each side: 3 in front, 20 in the first stage, 40 in the second.
        self.local = MeanInTiles(_FerretFeatures(), stride=8, reach=64)
        self.logit = nn.Sequential(nn.Dropout(0.2), nn.Linear(128, 1))
        self.two_logits = TwoLogits()
        hide_level(self, "local.body.")

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.two_logits(self.logit(self.local(images)))
        return logits


class _FerretFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cbr1 = _convolution(3, 16, 1)
        self.cbr2 = _convolution(16, 32, 2)
        self.feature = nn.Sequential(
            nn.Sequential(_DilatedBlock(32, 64, 2), _DilatedBlock(64, 64, 1)),
            nn.Sequential(_DilatedBlock(64, 128, 2), _DilatedBlock(128, 128, 1)),
            nn.Conv2d(128, 128, 1, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        # Through its module, where tracing finds the function in one piece.
        residual = images - medians.neighbour_median(images)
        features: Tensor = self.feature(self.cbr2(self.cbr1(residual)))
        return features


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _DilatedBlock(nn.Module):
    """A dilated and a separable convolution beside a shortcut (DSBlock)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _DilatedConvolution(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            _SeparableConvolution(outputs),
            nn.BatchNorm2d(outputs),
        )
        changes = inputs != outputs or stride != 1
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs))
            if changes
            else nn.Identity()
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.relu(self.layers(features) + self.shortcut(features))
        return result


class _DilatedConvolution(nn.Module):
    """The sum of a plain and a dilated convolution of each channel, then a mix of the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, stride, padding=2, dilation=2, groups=inputs, bias=False)
        self.conv3 = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.conv3(self.conv1(features) + self.conv2(features))
        return mixed


class _SeparableConvolution(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth_wise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.point_wise = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.point_wise(self.depth_wise(features))
        return mixed


def build() -> FerretNetS:
    """Build the network."""
    return FerretNetS()
