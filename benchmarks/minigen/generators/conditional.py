"""Class-conditional blocks: batch normalisation with a gain and an offset per class (de Vries et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 10
STANDING_BATCHES = 20
STANDING_BATCH = 200


class ConditionalNorm(nn.Module):
    """BatchNorm2d without its own affine part, then a class's gain and offset, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(CLASSES, channels)
        self.offset = nn.Embedding(CLASSES, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.offset.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """N×C×H×W and N classes to the same shape."""
        gain, offset = (table(labels)[:, :, None, None].to(x.dtype) for table in (self.gain, self.offset))
        return nn.functional.relu(self.norm(x) * gain + offset)


class Up(nn.Module):
    """Residual block that doubles the side by repeating pixels (``nearest``) or between them (``bilinear``)."""

    def __init__(self, inputs: int, outputs: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.norm1 = ConditionalNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = ConditionalNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """N×inputs×H×W to N×outputs×2H×2W."""
        h = self.conv1(nn.functional.interpolate(self.norm1(x, labels), scale_factor=2, mode=self.mode))
        skip = nn.functional.interpolate(self.skip(x), scale_factor=2, mode=self.mode)
        result: Tensor = self.conv2(self.norm2(h, labels)) + skip
        return result


class UpDecoder(nn.Module):
    """Latent N×latent and classes N to images N×3×32×32 in [-1, 1], through residual blocks."""

    def __init__(self, latent: int, widths: tuple[int, ...], block: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.first = nn.Linear(latent, widths[0] * 16)
        self.ups = nn.ModuleList([block(a, b) for a, b in pairwise(widths)])
        self.norm = ConditionalNorm(widths[-1])
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """The images, float32: the last layer runs in full precision so that no level is lost to bfloat16."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            h = self.first(z).view(len(z), -1, 4, 4)
            for up in self.ups:
                h = up(h, labels)
            h = self.norm(h, labels)
        return torch.tanh(self.last(h.float()))


@torch.no_grad()
def standing_statistics(net: nn.Module, latent: int, seed: int = 0) -> nn.Module:
    """Measure batch normalisation anew for averaged weights (Brock et al. 2019, appendix B).

    ``net(z, labels)`` runs over class-balanced batches; it comes back in evaluation mode.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(STANDING_BATCH) % CLASSES
    net.train()
    for _ in range(STANDING_BATCHES):
        net(torch.randn(STANDING_BATCH, latent, generator=rng), labels)
    return net.eval()
