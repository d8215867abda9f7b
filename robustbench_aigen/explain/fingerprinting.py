"""Fingerprints of generators: mean noise residuals and their spectra against those of real images.

Marra et al. 2019 (mean residual of a generator), Corvi et al. 2023 (power spectra of residuals). The residual here is
the luma minus its 3×3 median.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.data.image_data import DataLike, as_image_data
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.mistakes import readable
from robustbench_aigen.explain.perturbations import radial_frequency
from robustbench_aigen.metrics.bootstrap import resampled_weights
from robustbench_aigen.text import counted

Floats = NDArray[np.float64]

REALS = "real"
_LUMA = np.array([0.299, 0.587, 0.114]) / 255
_LARGEST, _SMALLEST = 256, 16
"""Sides of the part of an image that is used, in pixels."""
_FEWEST = 4
"""Images without which a generator has no fingerprint: two in each half."""
_CHUNK = 128
_CHANCE = 0.05
_RINGS = 3
"""Rings on each side whose power a peak is compared with."""


@dataclass(frozen=True)
class GeneratorFingerprint:
    """What the images of one generator have in common.

    Parameters
    ----------
    name
        The generator, or ``real`` for all real images.
    images
        Number of images.
    residual
        Mean noise residual in pixel units, S×S.
    halves
        The mean residuals of two halves of the images, 2×S×S.
    spectrum
        Mean power spectrum of the residuals, S×S, frequency 0 in the middle.
    profiles
        Radial profile of each image's spectrum, N×R.
    """

    name: str
    images: int
    residual: Floats
    halves: Floats
    spectrum: Floats
    profiles: Floats

    @property
    def residual_spectrum(self) -> Floats:
        """Power spectrum of the mean residual, S×S: what repeats at the same place in every image."""
        return power_spectrum(self.residual)

    def band(self, draws: int = 500, seed: int = 42) -> tuple[Floats, Floats, Floats]:
        """Return the mean radial profile with the 95 % interval of the bootstrap over images, R each."""
        means = np.concatenate(
            [
                weights @ self.profiles / self.images
                for weights in resampled_weights(self.images, None, draws, seed)
            ]
        )
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
        return self.profiles.mean(axis=0), low, high


class Peak(NamedTuple):
    """A frequency at which a fingerprint has significantly more power than at others of its radius.

    Parameters
    ----------
    down, across
        The frequency in cycles per pixel; ``across`` is at least 0.
    decibels
        Power over the median of the ring.
    """

    down: float
    across: float
    decibels: float


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of the generators of some data, and of the real images.

    Parameters
    ----------
    side
        Side S of the middle part of the images, in pixels.
    frequencies
        R radial frequencies of the profiles, in cycles per pixel.
    each
        The fingerprints by name.
    left_out
        Sentences on images and generators that were left out.
    """

    side: int
    frequencies: Floats
    each: dict[str, GeneratorFingerprint]
    left_out: tuple[str, ...]

    @property
    def generators(self) -> list[str]:
        """The names without ``real``."""
        return [name for name in self.each if name != REALS]

    def excess(self, name: str) -> Floats:
        """Return the logarithm of a generator's spectrum over that of the real images, S×S, in decibels."""
        floor = 1e-12
        return np.asarray(
            10 * np.log10((self.each[name].spectrum + floor) / (self.each[REALS].spectrum + floor))
        )

    def residual_similarity(self) -> Floats:
        """Return the correlations of mean residuals between all names, G×G.

        One half of the images against the other half, so that the diagonal is how well a fingerprint repeats.
        """
        first, second = (
            np.stack([one.halves[half].ravel() for one in self.each.values()]) for half in (0, 1)
        )
        across = _correlations(first, second)
        return (across + across.T) / 2

    def spectrum_similarity(self) -> Floats:
        """Return the correlations of the excess spectra between the generators."""
        inside = _without_zero(self.side)
        rows = np.stack([self.excess(name)[inside] for name in self.generators])
        return _correlations(rows, rows)

    def peaks(self, name: str, most: int = 3) -> list[Peak]:
        """Return the significant peaks of a mean residual, the highest first.

        The power of noise has an exponential distribution. A peak is one that noise has with 5 % at any frequency.
        """
        return peaks(self.each[name].residual_spectrum, most)


def fingerprints(
    data: DataLike,
    *,
    split: str | None = None,
    limit: int | None = None,
    side: int | None = None,
    process: Callable[[list[Tensor], list[Sample]], list[Tensor]] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Fingerprints:
    """Return the fingerprints of the generators in some data.

    Parameters
    ----------
    data, split, limit
        As of ``evaluate``.
    side
        Side of the part of each image that is used, in pixels; by default the largest power of two up to 256 that fits
        into the median image. Smaller images are left out. Nothing is resized, because that moves frequencies.
    process
        Changes the images before; called with uint8 images 3×H×W and their samples.
    advance
        Called with the number of newly read images.

    Raises
    ------
    UserError
        If there are no real images or no generator with enough images.
    """
    chosen = as_image_data(data, split, limit)
    rows = chosen.selection.indices
    groups: dict[str, _Sums] = {}
    left, small, unreadable = side, 0, 0
    for first in range(0, len(rows), _CHUNK):
        samples, levels, failed = readable(chosen, rows[first : first + _CHUNK])
        unreadable += len(failed)
        if left is None and levels:
            middle = float(np.median([min(image.shape[1:]) for image in levels]))
            left = int(min(_LARGEST, 2 ** int(np.log2(max(1.0, middle)))))
        changed = levels if process is None or not levels else process(levels, samples)
        for sample, image in zip(samples, changed, strict=True):
            if left is None or min(image.shape[1:]) < left:
                small += 1
                continue
            name = REALS if sample.label == 0 else sample.generator
            groups.setdefault(name, _Sums(left)).add(residual_of(image, left), sample)
        advance(len(samples) + len(failed))
    if left is not None and left < _SMALLEST:
        raise UserError(
            f"images of {left} pixels have no spectrum", hint=f"images from {_SMALLEST} pixels a side"
        )
    told = [f"{counted(small, 'image is', 'images are')} smaller than {left} pixels"] * bool(small)
    told += [f"{counted(unreadable, 'image')} cannot be read"] * bool(unreadable)
    few = [name for name, sums in groups.items() if min(sums.counts) < _FEWEST // 2]
    told += [f"{name} has only {counted(sum(groups[name].counts), 'image')}" for name in few]
    names = sorted({*groups} - {*few, REALS})
    if REALS not in groups or REALS in few or not names:
        raise UserError(
            f"fingerprints of {chosen.name} need real images and a generator with at least {_FEWEST} images each",
            hint="raise --limit, or name data with both classes",
        )
    assert left is not None
    return Fingerprints(
        left, _radii(left)[1], {name: groups[name].finished(name) for name in [REALS, *names]}, tuple(told)
    )


def residual_of(image: Tensor, side: int) -> Floats:
    """Return the noise residual of the middle of a uint8 3×H×W image, side×side: the luma minus its 3×3 median.

    The part begins at a multiple of 8 pixels, so that the blocks of JPEG fall on each other.
    """
    from scipy.ndimage import median_filter  # Slow to import.

    height, width = image.shape[1:]
    top, left = ((length - side) // 2 // 8 * 8 for length in (height, width))
    luma = np.tensordot(_LUMA, image.numpy()[:, top : top + side, left : left + side].astype(float), 1)
    return np.asarray(luma - median_filter(luma, size=3, mode="reflect"))


def power_spectrum(residual: Floats) -> Floats:
    """Return the power by frequency of S×S values, frequency 0 in the middle; the mean is their mean square."""
    return np.asarray(np.fft.fftshift(np.abs(np.fft.fft2(residual)) ** 2) / residual.size)


def peaks(spectrum: Floats, most: int) -> list[Peak]:
    """Return the significant peaks of an S×S power spectrum, as :meth:`Fingerprints.peaks` says."""
    side = len(spectrum)
    ring, _ = _radii(side)
    # A ring near frequency 0 has few coefficients: those of the neighbouring rings count as well.
    near = [np.abs(ring - number) <= _RINGS for number in range(ring.max() + 1)]
    medians = np.array([np.median(spectrum[each & _without_zero(side)]) for each in near])
    ratio = spectrum / np.maximum(medians[ring], 1e-30)
    axis = np.fft.fftshift(np.fft.fftfreq(side))
    down, across = np.meshgrid(axis, axis, indexing="ij")
    # Half of the plane: the other half mirrors it. Frequency -1/2 is 1/2.
    half = ((across > 0) | ((across == 0) & (down > 0)) | (across == -0.5)) & _without_zero(side)
    limit = np.log2(half.sum() / _CHANCE)
    found = [
        Peak(abs(float(down[place])) if down[place] == -0.5 else float(down[place]), abs(float(across[place])),
             10 * float(np.log10(ratio[place])))
        for place in zip(*np.nonzero(half & (ratio > limit)), strict=True)
    ]  # fmt: skip
    return sorted(found, key=lambda peak: -peak.decibels)[:most]


class _Sums:
    """The sums of one generator, with one profile for each image."""

    def __init__(self, side: int) -> None:
        self.side, self.counts = side, [0, 0]
        self.halves, self.spectrum = np.zeros((2, side, side)), np.zeros((side, side))
        self.profiles: list[Floats] = []

    def add(self, residual: Floats, sample: Sample) -> None:
        # Images take turns by a fixed pseudo-random order of their ids; the smaller half first.
        half = int(
            self.counts[1] < self.counts[0]
            or (self.counts[0] == self.counts[1] and order_key(sample.id)[-1] % 2)
        )
        self.counts[half] += 1
        self.halves[half] += residual
        power = power_spectrum(residual)
        self.spectrum += power
        ring, frequencies = _radii(self.side)
        sums = np.bincount(ring.ravel(), weights=power.ravel())
        self.profiles.append((sums / np.bincount(ring.ravel()))[1 : len(frequencies) + 1])

    def finished(self, name: str) -> GeneratorFingerprint:
        images = sum(self.counts)
        return GeneratorFingerprint(
            name, images, self.halves.sum(axis=0) / images,
            self.halves / np.array(self.counts)[:, None, None], self.spectrum / images, np.stack(self.profiles),
        )  # fmt: skip


def _radii(side: int) -> tuple[NDArray[np.int_], Floats]:
    """Return the number of the ring of each coefficient, and the frequencies of rings 1 to S/2."""
    ring = np.rint(radial_frequency(side, side) * side).astype(int)
    return ring, np.arange(1, side // 2 + 1) / side


def _without_zero(side: int) -> NDArray[np.bool_]:
    return np.asarray(radial_frequency(side, side) > 0)


def _correlations(one: Floats, other: Floats) -> Floats:
    """Return the correlations between rows, NaN for constant rows."""
    scaled = []
    for rows in (one, other):
        centred = rows - rows.mean(axis=1, keepdims=True)
        size = np.linalg.norm(centred, axis=1, keepdims=True)
        scaled.append(np.divide(centred, size, out=np.full_like(centred, np.nan), where=size > 0))
    return np.asarray(scaled[0] @ scaled[1].T)


class Remaining(NamedTuple):
    """What processing leaves of a fingerprint.

    Parameters
    ----------
    spectrum
        Correlation of the excess spectrum before and after.
    amplitude
        Slope of the excess after on the excess before: the share of its decibels that is left.
    residual
        Correlation of the mean residuals before and after.
    """

    spectrum: float
    amplitude: float
    residual: float


def remaining(before: Fingerprints, after: Fingerprints) -> dict[str, Remaining]:
    """Return what processing leaves of each generator's fingerprint, by name.

    Parameters
    ----------
    before, after
        Of the same images, with the same side.
    """
    inside, found = _without_zero(before.side), {}
    for name in before.generators:
        if name not in after.each:
            continue
        one, other = (each.excess(name)[inside] for each in (before, after))
        one, other = one - one.mean(), other - other.mean()
        residuals = [each.each[name].residual.ravel()[None] for each in (before, after)]
        square = float(one @ one)
        found[name] = Remaining(
            float(_correlations(one[None], other[None])[0, 0]),
            float(one @ other) / square if square else float("nan"),
            float(_correlations(*residuals)[0, 0]),
        )
    return found
