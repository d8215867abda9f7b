"""Depthwise convolutions, which reduced precision makes slower on a CPU."""

from types import MethodType

import torch
from torch import Tensor, nn


def keep_depthwise_float32(network: nn.Module) -> None:
    """Let the depthwise convolutions of a network on the CPU stay float32 under autocast, in place.

    oneDNN has no fast bfloat16 path for their gradients. With one thread of a Zen 4 core, MobileNetV2 takes 2.61 ms an
    image for the gradient to 32×32 pixels in bfloat16, 0.98 in float32, and 0.86 with these alone in float32; at 224
    pixels 45, 32 and 32 ms. ConvNeXt-Small, in which products weigh more, stays as fast as it was.
    """
    for module in network.modules():
        # A class with a convolution of its own keeps it; folded ones have the ordinary one.
        if not isinstance(module, nn.Conv2d) or type(module)._conv_forward is not nn.Conv2d._conv_forward:  # noqa: SLF001
            continue
        if module.groups == module.in_channels > 1:
            module._conv_forward = MethodType(_float32, module)  # type: ignore[method-assign]  # noqa: SLF001


def _float32(self: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    with torch.autocast(images.device.type, enabled=False):
        return nn.Conv2d._conv_forward(self, images.float(), weight, bias)  # noqa: SLF001
