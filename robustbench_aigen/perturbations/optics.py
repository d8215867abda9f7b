"""What the optics and the sensor of a camera do to an image: distortion, colour fringes, darker corners, mosaic, grain."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.pixelwise import Floats, on_floats, on_numbered_floats

_CROSS = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
_SQUARE = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
_WEIGHTS = np.stack([_SQUARE, _CROSS, _SQUARE])
"""Bilinear interpolation of a mosaic: the weights of the known neighbours of red, green and blue."""


def sensor_noise(levels: Tensor, streams: SampleStreams, *, shot: float, read: float) -> Tensor:
    """Take an image as a sensor behind a Bayer filter does: mosaic, noise, bilinear demosaicing.

    Each pixel keeps one channel in the pattern RGGB, and gets normal noise of the variance ``shot`` · value + ``read``².

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image.
    shot
        Variance of the noise of white, which grows with the light.
    read
        Standard deviation of the noise of black, in pixel units.
    """

    def change(pixels: Floats, rows: Sequence[int]) -> Floats:
        height, width = pixels.shape[2:]
        masks = bayer(height, width)
        mosaic = (pixels * masks).sum(axis=1, keepdims=True)
        drawn = streams.normal((1, height, width), rows)
        noisy = np.clip(mosaic + drawn * np.sqrt(shot * mosaic + read**2), 0, 1)
        return demosaic(noisy[:, 0])

    return on_numbered_floats(levels, change)


def bayer(height: int, width: int) -> Floats:
    """Return which channel each pixel of a sensor sees, 3×H×W zeros and ones in the pattern RGGB."""
    masks = np.zeros((3, height, width))
    masks[0, 0::2, 0::2] = masks[1, 0::2, 1::2] = masks[1, 1::2, 0::2] = masks[2, 1::2, 1::2] = 1
    return masks


def demosaic(mosaic: Floats) -> Floats:
    """Return N×3×H×W colours of N×H×W values in the pattern RGGB, by bilinear interpolation, at edges of the existing neighbours."""
    masks = bayer(mosaic.shape[1], mosaic.shape[2])

    def spread(values: Floats) -> Floats:
        channels = [
            ndimage.convolve(values[:, channel], _WEIGHTS[channel][None], mode="constant")
            for channel in range(3)
        ]
        return np.stack(channels, axis=1)

    known, weights = spread(mosaic[:, None] * masks), spread(masks[None])
    # A sensor of one row or column has no neighbours of some channels.
    colours: Floats = np.divide(known, weights, out=np.zeros_like(known), where=weights > 0)
    return colours


def chromatic_aberration(levels: Tensor, *, shift: float) -> Tensor:
    """Magnify red and shrink blue about the centre, so that they are ``shift`` pixels apart from green in the corners.

    Cubic interpolation; at the border the nearest pixels repeat.
    """

    def change(pixels: Floats) -> Floats:
        height, width = pixels.shape[2:]
        corner = np.hypot(height - 1, width - 1) / 2
        fringed = pixels.copy()
        for channel, sign in ((0, 1), (2, -1)):
            scale = np.full((height, width), 1 - sign * shift / max(corner, 1.0))
            fringed[:, channel] = _resampled(pixels[:, channel], scale)
        return fringed

    return on_floats(levels, change)


def lens_distortion(levels: Tensor, *, strength: float) -> Tensor:
    """Distort as a lens with one radial coefficient does: barrel above 0, pincushion below.

    A pixel at the radius r, in half diagonals from the centre, takes the colour at r · (1 + strength · r²) / (1 +
    strength): corners stay where they are, so that no border appears. Cubic interpolation.
    """

    def change(pixels: Floats) -> Floats:
        scale = (1 + strength * _radius(*pixels.shape[2:]) ** 2) / (1 + strength)
        return np.stack([_resampled(pixels[:, channel], scale) for channel in range(3)], axis=1)

    return on_floats(levels, change)


def vignetting(levels: Tensor, *, strength: float) -> Tensor:
    """Darken towards the corners by cos⁴ of the angle, which leaves a corner ``1 - strength`` of its light."""

    def change(pixels: Floats) -> Floats:
        radius = _radius(*pixels.shape[2:])
        tangent = (1 - strength) ** -0.5 - 1
        return pixels / (1 + tangent * radius**2) ** 2

    return on_floats(levels, change)


def film_grain(levels: Tensor, streams: SampleStreams, *, sigma: float, size: float) -> Tensor:
    """Add grain, blurred normal noise that is equal in all channels and strongest in the middle tones.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image.
    sigma
        Standard deviation of the grain on a medium grey, in pixel units.
    size
        Standard deviation of the blur in pixels; 0 for grains of one pixel.
    """

    def change(pixels: Floats, rows: Sequence[int]) -> Floats:
        noise = streams.normal((1, *pixels.shape[2:]), rows)
        if size > 0:
            noise = ndimage.gaussian_filter(noise, (0, 0, size, size), mode="wrap")
            # White noise keeps this share of its standard deviation under a Gaussian blur.
            impulse = np.zeros(pixels.shape[2:])
            impulse[0, 0] = 1
            noise /= np.sqrt((ndimage.gaussian_filter(impulse, size, mode="wrap") ** 2).sum())
        grey = pixels.mean(axis=1, keepdims=True)
        return pixels + 2 * sigma * noise * np.sqrt(grey * (1 - grey))

    return on_numbered_floats(levels, change)


def _radius(height: int, width: int) -> Floats:
    """Return the distance of each pixel from the centre, in half diagonals."""
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width)[None] - (width - 1) / 2
    radius: Floats = np.hypot(rows, columns) / max(np.hypot(height - 1, width - 1) / 2, 1e-12)
    return radius


def _resampled(channel: Floats, scale: Floats) -> Floats:
    """Return N×H×W images that take each pixel from its place multiplied by H×W factors, about the centre; cubic."""
    height, width = channel.shape[1:]
    rows = (np.arange(height)[:, None] - (height - 1) / 2) * scale + (height - 1) / 2
    columns = (np.arange(width)[None] - (width - 1) / 2) * scale + (width - 1) / 2
    places = [rows, columns]
    return np.stack([ndimage.map_coordinates(image, places, order=3, mode="nearest") for image in channel])
