"""Crops, rotation and flips. Those that only move pixels take floats as well, and have gradients."""

import torch
from PIL import Image
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.pixelwise import on_pictures


def _kept(levels: Tensor, share: float) -> tuple[int, int]:
    height, width = levels.shape[-2:]
    return max(1, round(height * share)), max(1, round(width * share))


def center_crop(levels: Tensor, *, share: float) -> Tensor:
    """Keep the middle ``share`` of both sides."""
    height, width = _kept(levels, share)
    top, left = (levels.shape[-2] - height) // 2, (levels.shape[-1] - width) // 2
    return levels[..., top : top + height, left : left + width].contiguous()


def random_crop(levels: Tensor, streams: SampleStreams, *, share: float) -> Tensor:
    """Keep ``share`` of both sides, at a place that each image draws."""
    height, width = _kept(levels, share)
    crops = []
    for image, (down, right) in zip(levels, streams.uniform(0, 1, (2,)), strict=True):
        top = int(down * (image.shape[-2] - height + 1))
        left = int(right * (image.shape[-1] - width + 1))
        crops.append(image[:, top : top + height, left : left + width])
    return torch.stack(crops)


def rotate(levels: Tensor, *, degrees: float, expand: bool) -> Tensor:
    """Turn counter-clockwise (bicubic), corners black; with ``expand`` the frame grows to hold all of it."""
    return on_pictures(
        levels, lambda picture: picture.rotate(degrees, Image.Resampling.BICUBIC, expand=expand)
    )


def flip(levels: Tensor, *, direction: str) -> Tensor:
    """Mirror left to right (``horizontal``) or top to bottom (``vertical``)."""
    return levels.flip(-1 if direction == "horizontal" else -2)
