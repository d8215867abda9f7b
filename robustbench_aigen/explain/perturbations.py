"""What an attack changed in an image: the spectrum of the change, and its energy per band."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BANDS = ((0.0, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1.0))
"""Bands of radial frequency in cycles per pixel; the last includes the corners of the spectrum."""


class Change(NamedTuple):
    """The change of one image.

    Parameters
    ----------
    difference
        H×W×3 levels, attacked minus original.
    spectrum
        Power of the difference by frequency, H×W, the mean over the channels; frequency 0 is in the middle.
    shares
        Share of the energy in each of :data:`BANDS`.
    white
        The same of white noise: the share of frequencies in each band.
    """

    difference: NDArray[np.int_]
    spectrum: NDArray[np.float64]
    shares: NDArray[np.float64]
    white: NDArray[np.float64]


def change_of(original: NDArray[np.uint8], image: NDArray[np.uint8]) -> Change:
    """Return what changed between two H×W×3 images of one size; the shares of no change are NaN."""
    difference = image.astype(int) - original.astype(int)
    power = np.abs(np.fft.fftn(difference, axes=(0, 1))) ** 2
    spectrum = np.fft.fftshift(power.mean(axis=2) / difference[..., 0].size)
    radius = radial_frequency(*difference.shape[:2])
    inside = [(radius >= low) & (radius < high) for low, high in BANDS]
    total = spectrum.sum()
    shares = np.array([spectrum[each].sum() for each in inside])
    return Change(
        difference,
        spectrum,
        shares / total if total else np.full(len(BANDS), np.nan),
        np.array([each.mean() for each in inside]),
    )


def radial_frequency(height: int, width: int) -> NDArray[np.float64]:
    """Return the radial frequency of each coefficient in cycles per pixel, H×W, frequency 0 in the middle."""
    rows, columns = (np.fft.fftshift(np.fft.fftfreq(side)) for side in (height, width))
    return np.hypot(rows[:, None], columns[None])
