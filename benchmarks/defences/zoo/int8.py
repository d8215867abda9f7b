"""Inference on 8-bit integers, with a convolution of its own: no gradient.

Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (CVPR,
arXiv:1712.05877); Lin, Gan and Han 2019, Defensive Quantization (ICLR, arXiv:1904.08444), for the hope that quantised
networks are robust. Broken by Gupta and Ajanthan 2022, Improved Gradient-Based Adversarial Attacks for Quantized Networks
(AAAI, arXiv:2003.13511).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.defences.base import base_detector
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector


def _to_int8(values: Tensor, scale: Tensor) -> Tensor:
    return (values / scale).round().clamp(-127, 127).to(torch.int8)


class Int8Layer(nn.Module):
    """A convolution or a linear layer on 8-bit integers, with a scale for each image and for each output."""

    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, layer: Any) -> None:
        super().__init__()
        weight = layer.weight.detach().flatten(1)
        self.kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else None
        self.register_buffer("scale", weight.abs().amax(1) / 127)
        self.register_buffer("weight", _to_int8(weight, self.scale[:, None]))
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output: products and sums of integers, then one multiplication."""
        flat = x.flatten(1)
        scale = flat.abs().amax(1).clamp(min=1e-8) / 127
        whole = _to_int8(x, scale.view(-1, *[1] * (x.dim() - 1))).float()
        # Sums of these products are below 2**24, where float32 counts exactly.
        kernel = self.weight.float()
        if self.kernel is None:
            return whole @ kernel.T * scale[:, None] * self.scale + self.bias
        columns = functional.unfold(whole, self.kernel, padding=1)
        sums = (kernel @ columns).view(len(x), -1, *x.shape[2:])
        return sums * scale.view(-1, 1, 1, 1) * self.scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def quantised(network: nn.Module) -> nn.Module:
    """Replace every convolution and every linear layer of a network."""
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            setattr(network, name, Int8Layer(layer))
        else:
            quantised(layer)
    return network


def build() -> Detector:
    """Return the defended detector."""
    network = quantised(base_detector().network)
    return Detector(network, mean=(0.5,) * 3, std=(0.5,) * 3, name="int8")


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Attack the network of floating-point numbers that was quantised."""
    return descend(detector, base_detector(), clean, labels)


DEFENCE = Defence(
    "int8",
    "Lin et al. 2019",
    "Gupta and Ajanthan 2022",
    "scores",
    is_random=False,
    build=build,
    attack=attack,
)
