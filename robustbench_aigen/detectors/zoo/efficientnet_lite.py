"""EfficientNet-Lite0, 1 and 2 (Liu 2020, Higher accuracy on vision models with EfficientNet-Lite), timm's."""

from functools import partial
from typing import Literal

from torch import nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC
from robustbench_aigen.detectors.packaged_weights import efficientnet_lite_weights
from robustbench_aigen.detectors.pretrained import initialise
from robustbench_aigen.imports import import_library

INPUT_SIZE = (224, 224)
NORMALISATION = SYMMETRIC


def build(size: Literal[0, 1, 2] = 0, dropout: float = 0.2, weights: str = "none") -> nn.Module:
    """Build an EfficientNet-Lite with a new dense layer of two logits.

    Lite1 and Lite2 were trained at 240 and 260 pixels: write ``input_size: [240, 240]`` or ``[260, 260]``. The network
    takes any size.

    Parameters
    ----------
    size
        0, 1 or 2: 3.4, 4.2 or 4.9 M parameters.
    dropout
        Share of the features that is dropped before the dense layer in training.
    weights
        ``imagenet`` (of an installed package, without a download), ``none`` or a file.

    Raises
    ------
    UserError
        If timm or the package of the weights is missing, or the weights are of another network.
    """
    if size not in (0, 1, 2):
        raise ValueError(f"size must be 0, 1 or 2, not {size}")
    timm = import_library("timm", extra="timm", what="this backbone")
    network: nn.Module = timm.create_model(f"tf_efficientnet_lite{size}", num_classes=2, drop_rate=dropout)
    packaged = partial(efficientnet_lite_weights, size, network.state_dict())
    initialise(network, weights, packaged, head="classifier.")
    return network
