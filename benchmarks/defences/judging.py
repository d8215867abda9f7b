"""Images on the 8-bit grid, and the share of fresh answers that are right."""

import torch
from torch import Tensor

from benchmarks.defences.defence import EPS
from robustbench_aigen import Detector, ImageData

CALLS = 10
"""Fresh answers of a random detector that judge an image."""


def balanced_images(split: str, limit: int | None) -> tuple[ImageData, Tensor, Tensor]:
    """Return images of minigen with their N×3×32×32 pixels in [0, 1] and their N labels, half real and half fake."""
    from robustbench_aigen.numerics.decoding import decode

    data = ImageData.open("minigen", split=split, limit=limit)
    levels = torch.stack([decode(data.source.encoded(index)) for index in data.selection.indices])
    return data, levels.float() / 255, torch.tensor([sample.label for sample in data.samples])


def rounded(pixels: Tensor, clean: Tensor, eps: int = EPS) -> Tensor:
    """Return pixels on the 8-bit grid, at most ``eps`` levels from the clean pixels."""
    change = ((pixels - clean) * 255).round().clamp(-eps, eps)
    return ((clean * 255).round() + change).clamp(0, 255) / 255


@torch.no_grad()
def margins(detector: Detector, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return one fresh answer for each image: N margins, logit of the wrong class less that of the right class.

    A tie is a verdict of fake, so a margin of 0 is wrong for a real image alone.
    """
    logits = torch.cat([detector(part) for part in pixels.split(100)])
    return (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)


def is_wrong(margin: Tensor, labels: Tensor) -> Tensor:
    """Return which margins mean a wrong verdict, N booleans."""
    return (margin > 0) | ((margin == 0) & (labels == 0))


def shares_right(detector: Detector, pixels: Tensor, labels: Tensor, *, calls: int) -> Tensor:
    """Return the share of right answers of each image over fresh calls, N numbers in [0, 1]."""
    wrong = torch.stack([is_wrong(margins(detector, pixels, labels), labels) for _ in range(calls)])
    return 1 - wrong.float().mean(0)
