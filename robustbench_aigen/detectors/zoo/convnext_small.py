"""ConvNeXt-Small (Liu et al. 2022, arXiv:2201.03545), torchvision's, with two outputs, at 224×224 (study B)."""

from torch import nn
from torchvision.models import ConvNeXt_Small_Weights, convnext_small

from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (224, 224)
NORMALISATION = IMAGENET


def build(weights: str = "none") -> nn.Module:
    """Build ConvNeXt-Small with a binary head (Iacob & Nuță, study B); ``weights``: ``imagenet``, ``none`` or a file."""
    network: nn.Module = convnext_small(weights=None, num_classes=2)
    source = torchvision_weights(ConvNeXt_Small_Weights.IMAGENET1K_V1)
    initialise(network, weights, source, head="classifier.2.")
    return network
