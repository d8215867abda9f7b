"""The 8-bit grid of image files, on which all verdicts are given."""

import torch
from torch import Tensor

LEVELS = 255
"""Steps between black and white in an 8-bit channel; one level is 1/255 of the pixel range."""


def to_pixels(levels: Tensor) -> Tensor:
    """Turn uint8 levels into float32 pixels in [0, 1], any shape."""
    return levels.to(torch.float32, copy=True).div_(LEVELS)


def to_levels(pixels: Tensor) -> Tensor:
    """Round float pixels to uint8 levels, any shape.

    Rounded, not truncated: truncation darkens every image by half a level on average and takes a third of the
    budget of a 1/255 attack away.
    """
    return (pixels * LEVELS).round_().clamp_(0, LEVELS).to(torch.uint8)
