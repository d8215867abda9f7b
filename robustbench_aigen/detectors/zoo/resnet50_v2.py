"""ResNet50V2 (He et al. 2016, arXiv:1603.05027), as Keras builds it, with one new dense layer, at 32×32 (study A)."""

from functools import partial

from torch import nn

from robustbench_aigen.detectors.keras_resnet_v2 import ResNet50V2, keras_weights
from robustbench_aigen.detectors.normalisation import SYMMETRIC
from robustbench_aigen.detectors.pretrained import initialise

INPUT_SIZE = (32, 32)
NORMALISATION = SYMMETRIC


def build(weights: str = "none") -> nn.Module:
    """Build ResNet50V2 with dropout 0.5 and one new dense layer of two logits.

    Kakar & Reeves (2024), study A. Their 25.6 M parameters count the original 1000-class head; this network has 23.5 M.
    The input size is not said; CIFAKE's own 32×32 is taken, and the network takes any size from there on.

    Parameters
    ----------
    weights
        ``imagenet`` (Keras' own), ``none``, or a file: Keras' ``.h5``, or a state dict of this network.
    """
    network = ResNet50V2(outputs=2, dropout=0.5)
    if weights.endswith(".h5"):
        initialise(network, "imagenet", partial(keras_weights, network, weights), head="head.")
    else:
        initialise(network, weights, partial(keras_weights, network), head="head.")
    return network
