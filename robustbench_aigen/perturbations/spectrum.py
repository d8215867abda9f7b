"""Changes of the Fourier spectrum that hide the traces of generators: slope, phases, high frequencies, peaks."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.pixelwise import Floats, on_floats, on_numbered_floats

Spectrum = NDArray[np.complex128]


def spectrum_match(levels: Tensor, *, exponent: float, start: float) -> Tensor:
    """Give the high frequencies the mean magnitude that photographs have, a power of the frequency.

    The mean magnitude of each ring of frequencies above ``start`` becomes A · f^(-exponent); A is fitted to the rings
    below. Phases, and what is above and below the mean of a ring, stay.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    exponent
        Fall of the mean magnitude of photographs, about 1 (Field 1987).
    start
        First changed frequency, as a share of the highest horizontal frequency.
    """

    def change(pixels: Floats) -> Floats:
        rings = _rings(pixels.shape[2], pixels.shape[3])
        first = max(2, round(start * min(pixels.shape[2:]) / 2))

        def scaled(spectrum: Spectrum) -> Spectrum:
            flat = spectrum.reshape(len(spectrum), 3, -1)
            sums = np.stack([[np.bincount(rings, np.abs(each)) for each in image] for image in flat])
            mean = np.maximum(sums / np.maximum(np.bincount(rings), 1), 1e-12)
            known = np.arange(1, first)
            level = (np.log(mean[..., known]) + exponent * np.log(known)).mean(axis=-1, keepdims=True)
            wanted = np.exp(level) * np.maximum(np.arange(mean.shape[-1]), 1.0) ** -exponent
            factor = np.where(np.arange(mean.shape[-1]) >= first, wanted / mean, 1.0)
            return spectrum * factor[..., rings].reshape(spectrum.shape)

        return _in_frequencies(pixels, scaled)

    return on_floats(levels, change)


def phase_noise(levels: Tensor, streams: SampleStreams, *, sigma: float, start: float) -> Tensor:
    """Turn the phase of each frequency above ``start`` by a normal angle of ``sigma`` radians, equal in the channels.

    Magnitudes stay until the pixels are clipped and rounded.
    """

    def change(pixels: Floats, rows: Sequence[int]) -> Floats:
        height, width = pixels.shape[2:]
        # The transform of real noise has opposite phases at opposite frequencies, as that of an image has.
        noise = np.fft.fft2(streams.normal((1, height, width), rows)) / np.sqrt(height * width)
        angle = sigma * np.sqrt(2) * noise.imag
        angle = np.where(_frequency(height, width) >= start, angle, 0.0)
        return _in_frequencies(pixels, lambda spectrum: spectrum * np.exp(1j * angle))

    return on_numbered_floats(levels, change)


def frequency_attenuation(levels: Tensor, *, start: float, strength: float) -> Tensor:
    """Multiply the frequencies above ``start`` by ``1 - strength``, with a cosine ramp of a tenth of the range before."""

    def change(pixels: Floats) -> Floats:
        ramp = np.clip((_frequency(*pixels.shape[2:]) - start) / 0.1 + 1, 0, 1)
        factor = 1 - strength * (1 - np.cos(np.pi * ramp)) / 2
        return _in_frequencies(pixels, lambda spectrum: spectrum * factor)

    return on_floats(levels, change)


def peak_removal(levels: Tensor, *, threshold: float, size: int, start: float) -> Tensor:
    """Cut isolated peaks of the magnitude, which upsampling leaves, to the median around them.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    threshold
        A frequency is a peak where its magnitude is more than this factor above the median.
    size
        Width of the square of frequencies that the median is of, an odd number.
    start
        First changed frequency, as a share of the highest horizontal frequency.
    """

    def change(pixels: Floats) -> Floats:
        above = _frequency(*pixels.shape[2:]) >= start

        def cut(spectrum: Spectrum) -> Spectrum:
            magnitude = np.abs(spectrum)
            # Frequencies wrap round, as the transform does.
            median = ndimage.median_filter(magnitude, (1, 1, size, size), mode="wrap")
            is_peak = above & (magnitude > threshold * median)
            return np.where(is_peak, spectrum * median / np.maximum(magnitude, 1e-12), spectrum)

        return _in_frequencies(pixels, cut)

    return on_floats(levels, change)


def _in_frequencies(pixels: Floats, change: Callable[[Spectrum], Spectrum]) -> Floats:
    """Apply a change to the two-dimensional discrete Fourier transform of each channel."""
    changed: Floats = np.fft.ifft2(change(np.fft.fft2(pixels))).real
    return changed


def _frequency(height: int, width: int) -> Floats:
    """Return the H×W frequencies as shares of the highest horizontal frequency; diagonals go up to √2."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency: Floats = 2 * np.sqrt(rows**2 + columns**2)
    return frequency


def _rings(height: int, width: int) -> NDArray[np.int64]:
    """Return the ring of each of the H·W frequencies: whole cycles over the shorter side."""
    radius = _frequency(height, width) * min(height, width) / 2
    return np.rint(radius.ravel()).astype(np.int64)
