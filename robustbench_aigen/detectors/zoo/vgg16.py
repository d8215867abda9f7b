"""VGG-16 (Simonyan & Zisserman 2015, arXiv:1409.1556), torchvision's, with the new top of study D, at 32×32."""

from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from robustbench_aigen.detectors.heads import dense_head
from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (32, 32)
NORMALISATION = IMAGENET


def build(weights: str = "none") -> nn.Module:
    """Build VGG-16's convolutions with a new top: global average pooling, dense 256, dropout 0.5, two logits.

    Rajendran (2023), study D, says "a new top" and reports no figure. At CIFAKE's 32×32 the last feature map is a
    single pixel, so averaging and flattening are the same; averaging lets the network take any size from 32 on. In
    the study label 1 is real: weights of the study's want ``fake_index: 0``.

    Parameters
    ----------
    weights
        ``imagenet``, ``none`` or a file.
    """
    network: nn.Module = vgg16(weights=None, init_weights=False)
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier = dense_head(512, 256, dropout=0.5)
    for layer in network.features.modules():  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            # As torchvision draws them: without batch norm the default is too small to learn from.
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    initialise(network, weights, torchvision_weights(VGG16_Weights.IMAGENET1K_V1), head="classifier.")
    return network
