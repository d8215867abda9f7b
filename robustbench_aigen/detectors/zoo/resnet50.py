"""ResNet-50 (He et al. 2016, arXiv:1512.03385), torchvision's, with the new top of study D, at 32×32."""

from torch import nn
from torchvision.models import ResNet50_Weights, resnet50

from robustbench_aigen.detectors.heads import dense_head
from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (32, 32)
NORMALISATION = IMAGENET


def build(weights: str = "none") -> nn.Module:
    """Build a ResNet-50 with a new top: global average pooling, dense 256, dropout 0.5, two logits.

    Rajendran (2023), study D, says "a new top" and reports no figure; the top is that of ``resnet50_frozen``. The
    input is CIFAKE's own 32×32; the network takes any size from there on. In the study label 1 is real: weights of
    the study's want ``fake_index: 0``.

    Parameters
    ----------
    weights
        ``imagenet``, ``none`` or a file.
    """
    network: nn.Module = resnet50(weights=None)
    network.fc = dense_head(2048, 256, dropout=0.5)
    initialise(network, weights, torchvision_weights(ResNet50_Weights.IMAGENET1K_V1), head="fc.")
    return network
