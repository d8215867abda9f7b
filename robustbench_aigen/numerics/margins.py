"""The margin, the objective of every attack on two classes."""

import torch
from torch import Tensor


def margin_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return N margins for N×2 logits: of the wrong class over the right one."""
    return (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)


def gradient_of(value: Tensor, pixels: Tensor) -> Tensor:
    """Return the gradient; zero if a detector detaches its input, which raises a trust flag."""
    if not value.requires_grad:
        return torch.zeros_like(pixels)
    (gradient,) = torch.autograd.grad(value, pixels, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient.contiguous()
