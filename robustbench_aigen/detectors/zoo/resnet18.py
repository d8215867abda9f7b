"""ResNet-18 (He et al. 2016, arXiv:1512.03385), torchvision's, with two outputs, at 224×224."""

from torch import nn
from torchvision.models import resnet18

INPUT_SIZE = (224, 224)


def build() -> nn.Module:
    """Build an untrained ResNet-18 with two outputs."""
    network: nn.Module = resnet18(weights=None, num_classes=2)
    return network
