"""Noise, drawn from each image's own stream. Definitions and severities of CIFAR-10-C where it has one."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.pixelwise import Floats, on_numbered_floats


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
    return on_numbered_floats(
        levels, lambda pixels, rows: pixels + sigma * streams.normal(pixels.shape[1:], rows)
    )


def speckle_noise(levels: Tensor, streams: SampleStreams, *, sigma: float) -> Tensor:
    """Add normal noise in proportion to the pixel's value; ``sigma`` is the relative standard deviation."""
    return on_numbered_floats(
        levels, lambda pixels, rows: pixels * (1 + sigma * streams.normal(pixels.shape[1:], rows))
    )


def poisson_noise(levels: Tensor, streams: SampleStreams, *, photons: float) -> Tensor:
    """Replace every value by a Poisson count over ``photons``, the mean count of white (shot noise)."""
    return on_numbered_floats(
        levels,
        lambda pixels, rows: np.stack(
            [
                streams.generator(row).poisson(image * photons) / photons
                for row, image in zip(rows, pixels, strict=True)
            ]
        ),
    )


def salt_and_pepper(levels: Tensor, streams: SampleStreams, *, amount: float) -> Tensor:
    """Set a share ``amount`` of all channel values to 0 or 1, evenly."""

    def change(pixels: Floats, rows: Sequence[int]) -> Floats:
        drawn = streams.uniform(0, 1, pixels.shape[1:], rows)
        return np.where(drawn < amount / 2, 0.0, np.where(drawn < amount, 1.0, pixels))

    return on_numbered_floats(levels, change)
