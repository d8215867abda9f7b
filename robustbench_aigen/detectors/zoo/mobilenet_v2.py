"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), torchvision's, with one new dense layer, at 32×32 (study A)."""

from torch import nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (32, 32)
NORMALISATION = IMAGENET


def build(weights: str = "none") -> nn.Module:
    """Build MobileNetV2 with dropout 0.5 and one new dense layer of two logits.

    Kakar & Reeves (2024), study A. Their 3.5 M parameters count the original 1000-class head; this network has 2.2 M.
    The input size is not said; CIFAKE's own 32×32 is taken, and the network takes any size from there on.

    Parameters
    ----------
    weights
        ``imagenet``, ``none`` or a file.
    """
    network: nn.Module = mobilenet_v2(weights=None, num_classes=2, dropout=0.5)
    source = torchvision_weights(MobileNet_V2_Weights.IMAGENET1K_V1)
    initialise(network, weights, source, head="classifier.")
    return network
