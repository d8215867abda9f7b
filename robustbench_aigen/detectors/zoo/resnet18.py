"""ResNet-18 (He et al. 2016, arXiv:1512.03385), torchvision's, with two outputs, at 224×224 (study E)."""

from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (224, 224)
NORMALISATION = IMAGENET


def build(weights: str = "none") -> nn.Module:
    """Build a ResNet-18 with a new dense layer; ``weights`` are ``imagenet``, ``none`` or a file."""
    network: nn.Module = resnet18(weights=None, num_classes=2)
    initialise(network, weights, torchvision_weights(ResNet18_Weights.IMAGENET1K_V1), head="fc.")
    return network
