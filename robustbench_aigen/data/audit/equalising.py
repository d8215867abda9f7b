"""Choice of format and size of an equalised copy, and of the images to leave out."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median_low
from typing import Literal, NamedTuple

import numpy as np

from robustbench_aigen.data.audit.inspection import Audit
from robustbench_aigen.data.audit.survey import Surveyed
from robustbench_aigen.data.samples import Sample

_LOSSLESS = {"PNG", "BMP", "TIFF", "GIF"}
_LOWEST, _HIGHEST = 50, 95
"""Qualities that a copy may have: lower ones show, higher ones keep what the classes were stored at before."""
_SMALLEST_SHARE = 5
"""Per cent of a class that may be smaller than the copy's size; these are left out rather than enlarged."""
_FIRST_TO_KEEP = ("test", "val", "train")
"""Splits in order of precedence: a picture in several splits stays in the first, so that the test split is kept
whole."""


class StorageRule(NamedTuple):
    """Recipe of the images of an equalised copy: scaled down and cropped to ``height``×``width``, then encoded.

    ``quality`` is the JPEG quality; None where all images were stored without loss, and the copy is PNG.
    """

    height: int
    width: int
    quality: int | None

    @property
    def suffix(self) -> str:
        """The suffix of the files."""
        return ".png" if self.quality is None else ".jpg"


Reason = Literal["leak", "both labels", "too small"]


def choose_recipe(images: Sequence[Surveyed]) -> StorageRule:
    """Choose size and format so that both classes can be had in them.

    One size stays as it is. Of several, the shorter side is what 95 % of either class have at least, and the copy is
    square. The quality is the lower of the two classes' medians (what is no JPEG counts as the best), between 50 and
    95: compressed again at a higher one, a class would keep the traces of its first compression.
    """
    sizes = {(image.facts.height, image.facts.width) for image in images}
    if len(sizes) == 1:
        ((height, width),) = sizes
    else:
        sides = [
            np.percentile([min(i.facts.height, i.facts.width) for i in some], _SMALLEST_SHARE, method="lower")
            for some in _by_class(images)
        ]
        height = width = int(min(sides))
    if {image.facts.format for image in images} <= _LOSSLESS:
        return StorageRule(height, width, None)
    typical = [median_low([i.facts.quality or 100 for i in some]) for some in _by_class(images)]
    return StorageRule(height, width, max(_LOWEST, min(_HIGHEST, *typical)))


def left_out(audit: Audit, recipe: StorageRule) -> dict[str, Reason]:
    """Return the ids of images that have no place in an equalised copy, and why.

    Copies of a picture in another split (the test split keeps its own), identical files with both labels, and images
    smaller than the copy's.
    """
    reasons: dict[str, Reason] = {}
    for group in (*audit.exact, *audit.near):
        if group.across_splits:
            kept = _split_to_keep(group.samples)
            reasons |= {sample.id: "leak" for sample in group.samples if sample.split != kept}
    for group in audit.exact:
        if group.across_classes:
            reasons |= dict.fromkeys((sample.id for sample in group.samples), "both labels")
    for image in audit.surveyed:
        if min(image.facts.height, image.facts.width) < min(recipe.height, recipe.width):
            reasons.setdefault(image.sample.id, "too small")
    return reasons


def _by_class(images: Sequence[Surveyed]) -> list[list[Surveyed]]:
    found: dict[int, list[Surveyed]] = defaultdict(list)
    for image in images:
        found[image.sample.label].append(image)
    return list(found.values())


def _split_to_keep(samples: Sequence[Sample]) -> str | None:
    splits = Counter(sample.split for sample in samples)
    for split in _FIRST_TO_KEEP:
        if split in splits:
            return split
    return min(splits, key=str)
