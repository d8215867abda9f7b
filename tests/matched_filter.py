"""A detector that tells the pictures of ``conftest.write_image`` apart by construction, on any machine."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from robustbench_aigen.detectors.zoo import build_architecture

BOUNDARY = 0.5
"""Of a fake picture's checkerboard, the share from which on a picture is called fake."""


def matched_lenet5() -> nn.Module:
    """LeNet-5 on pixels in [0, 1] whose one filter in use is matched to a checkerboard; its margin is that filter's mean response.

    The fourth difference along rows and columns, [1, -4, 6, -4, 1] twice, answers a checkerboard with 16 × 16 times
    its amplitude and a polynomial of degree three with nothing: a smooth picture leaves rounding alone.
    """
    network = build_architecture("lenet5")
    first, norm, second = network.features[0], network.features[1], network.features[4]
    dense, hidden, last = network.head[1], network.head[3], network.head[5]
    difference = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0]) / 16
    with torch.no_grad():
        for parameter in (first, second, dense, hidden, last):
            parameter.weight.zero_()
            parameter.bias.zero_()
        first.weight[0] = torch.outer(difference, difference) / 3
        norm.weight.fill_(255 / 6)  # A checkerboard of 12 levels, in [0, 1], is answered by 1.
        second.weight[0, 0, 2, 2] = 1
        dense.weight[0, :25] = 1 / 25  # The mean over the 5×5 places of the first channel.
        hidden.weight[0, 0] = 1
        last.weight[:, 0] = torch.tensor([-10.0, 10.0])
        last.bias[:] = torch.tensor([10.0, -10.0]) * BOUNDARY
    return network.eval()


def write_matched(folder: Path) -> Path:
    """Its weights as ``base.safetensors``."""
    file = folder / "base.safetensors"
    save_file(matched_lenet5().state_dict(), file)
    return file
