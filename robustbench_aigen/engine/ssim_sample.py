"""The images of a run with SSIM: all small images, and a fixed sample of larger images.

SSIM of a large image takes several times as long as a JPEG round trip and a small detector's verdict together. Which
images are measured depends on their ids, number and sizes alone, never on the detector, the pipeline or the clock.
"""

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import in_turns
from robustbench_aigen.scenario.scenario import SsimRule

_SMALL = 64**2
"""Pixels of an image up to which SSIM costs little."""
_SHARE = 32
"""One image in this many is measured: SSIM costs about three times what the cheapest cell does for an image, and this a tenth."""
_FEWEST = 4
"""Two of each class. SSIM differs little between images: by 0.003 (standard deviation) for JPEG 75 on photographs of
1,024 pixels, so that the mean of four is known to 0.0015, where the next quality is several times as far away."""


@dataclass(frozen=True)
class SsimSample:
    """The images on which SSIM is measured.

    Parameters
    ----------
    chosen
        Ids of images that are measured at any size.
    small
        The most pixels of an image that is measured anyway.
    """

    chosen: frozenset[str] = frozenset()
    small: int = _SMALL

    def has(self, sample: str, pixels: int) -> bool:
        """Whether SSIM is measured on an image with this number of pixels."""
        return pixels <= self.small or sample in self.chosen

    def of(self, samples: Collection[str]) -> "SsimSample":
        """Return the part of the sample inside some ids, those of a shard."""
        return SsimSample(self.chosen.intersection(samples), self.small)

    def identity(self) -> list[object]:
        """The part of the sample that determines records."""
        return [self.small, sorted(self.chosen)]


SMALL_IMAGES = SsimSample()
"""No sample: SSIM is measured on small images alone."""


def ssim_sample(samples: Iterable[Sample], rule: SsimRule) -> SsimSample:
    """Choose the images on which SSIM is measured, by their ids, labels and number, before anything is read.

    The classes take turns, and in each its generators.

    Parameters
    ----------
    samples
        Samples of the run.
    rule
        ``all``; ``off``; or ``sample``: all images of at most 64×64 pixels, and of larger ones one in 32, at least 4.
    """
    if rule != "sample":
        return SsimSample(small=sys.maxsize if rule == "all" else 0)
    listed = list(samples)
    count = max(_FEWEST, -(-len(listed) // _SHARE))
    turns = chain(*zip_longest(*in_turns(listed, count).values()))
    ordered = [sample for sample in turns if sample is not None]
    return SsimSample(frozenset(ordered[:count]))


class SsimCounts(NamedTuple):
    """Number of images with SSIM, among the images that keep their size under an attack or a perturbation."""

    measured: int
    images: int

    def notices(self, rule: SsimRule) -> list[str]:
        """Return a line on the images outside the sample, if any."""
        if rule != "sample" or self.measured == self.images:
            return []
        counted = (
            f"SSIM on {self.measured} of {self.images} images: small ones and a fixed sample of the others"
        )
        return [f"{counted} (ssim: all measures every image of at least 11×11 pixels)"]


def ssim_counts(records: pd.DataFrame) -> SsimCounts:
    """Count the images of a run that have an SSIM in some cell, and those that have a PSNR."""
    counts = (records.loc[records[name].notna(), "sample"].nunique() for name in ("ssim", "psnr"))
    return SsimCounts(*counts)
