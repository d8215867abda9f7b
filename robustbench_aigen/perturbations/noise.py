"""Additive noise."""

import torch
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams


def gaussian_noise(levels: Tensor, streams: SampleStreams, *, sigma: float) -> Tensor:
    """Add independent normal noise to every channel of every pixel, clip and round to 8 bits.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image.
    sigma
        Standard deviation in pixel units ([0, 1]).
    """
    noise = torch.from_numpy(streams.normal(levels.shape[1:])).float().to(levels.device)
    return to_levels(to_pixels(levels) + sigma * noise)
