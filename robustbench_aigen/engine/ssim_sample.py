"""On which images of a run SSIM is measured: on every small one, and of larger ones on a fixed sample.

SSIM of a large image takes several times as long as a JPEG round trip and a small detector's verdict together. Which
images are measured depends on their ids, number and sizes alone, never on the detector, the pipeline or the clock.
"""

import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.selection import in_turns
from robustbench_aigen.scenario.schema import SsimRule

_SMALL, _LARGE = 64**2, 512**2
"""Pixels of an image: to the first SSIM costs little; beyond the second a single one takes tens of milliseconds."""
_SHARE = 32
"""One image in so many: SSIM costs about three times what the cheapest cell does for an image, and this a tenth."""
_FEWEST, _FEWEST_LARGE = 8, 4
"""SSIM after JPEG 75 differs by 0.02 (standard deviation) between photographs: the mean of 8 is known to 0.007, that
of 4 to 0.01. Below that the mean says nothing about the difference of two qualities."""


@dataclass(frozen=True)
class SsimSample:
    """The images on which SSIM is measured.

    Parameters
    ----------
    largest
        For the ids of the sample: the most pixels that an image may have to be measured.
    otherwise
        The same for all other images.
    """

    largest: Mapping[str, int] = field(default_factory=dict)
    otherwise: int = _SMALL

    def has(self, sample: str, pixels: int) -> bool:
        """Whether SSIM is measured on an image of so many pixels."""
        return pixels <= self.largest.get(sample, self.otherwise)

    def of(self, samples: Collection[str]) -> "SsimSample":
        """Return the part of it that some samples, the ids of a shard, have."""
        return SsimSample(
            {sample: self.largest[sample] for sample in samples if sample in self.largest}, self.otherwise
        )

    def identity(self) -> list[object]:
        """What of it decides records."""
        return [self.otherwise, sorted(self.largest.items())]


SMALL_IMAGES = SsimSample()
"""No sample: SSIM is measured on small images alone."""


def ssim_sample(samples: Iterable[Sample], rule: SsimRule) -> SsimSample:
    """Choose the images on which SSIM is measured, by their ids, labels and number, before anything is read.

    The classes take turns, and in each its generators.

    Parameters
    ----------
    samples
        Of the run.
    rule
        ``all``; ``off``; or ``sample``: all images of at most 64×64 pixels, and of larger ones one in 32, at least 8,
        or at least 4 of more than 512×512 pixels.
    """
    if rule != "sample":
        return SsimSample({}, sys.maxsize if rule == "all" else 0)
    listed = list(samples)
    count = max(_FEWEST, -(-len(listed) // _SHARE))
    classes = in_turns(listed, count).values()
    ordered = [sample for sample in chain(*zip_longest(*classes)) if sample is not None][:count]
    large = max(_FEWEST_LARGE, -(-len(listed) // _SHARE))
    return SsimSample(
        {sample: sys.maxsize if rank < large else _LARGE for rank, sample in enumerate(ordered)}
    )


class SsimCounts(NamedTuple):
    """On how many images of a run SSIM was measured, of those that keep their size under an attack or a perturbation."""

    measured: int
    images: int

    def notices(self, rule: SsimRule) -> list[str]:
        """Tell of the images that the sample left out, in a line."""
        if rule != "sample" or self.measured == self.images:
            return []
        return [
            f"SSIM on {self.measured} of {self.images} images, a fixed sample (ssim: all in the scenario measures all)"
        ]


def ssim_counts(records: pd.DataFrame) -> SsimCounts:
    """Count the images of a run that have an SSIM in some cell, and those that have a PSNR."""
    found = (records.loc[records[name].notna(), "sample"].nunique() for name in ("ssim", "psnr"))
    return SsimCounts(*found)
