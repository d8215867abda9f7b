"""The hardest mistakes of a detector: its surest false positives and false negatives."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.data.image_data import DataLike, ImageData, as_image_data
from robustbench_aigen.data.samples import Sample, read_encoded
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode

_CHUNK = 128
"""Images in memory at once."""


class Mistake(NamedTuple):
    """A misjudged image: its sample, its log-odds of *fake* in nats, and its levels, 3×H×W uint8."""

    sample: Sample
    log_odds: float
    levels: Tensor


class Hardest(NamedTuple):
    """The surest mistakes, the surest first, and how many there are in all.

    Parameters
    ----------
    false_positives, false_negatives
        Real images called fake, and fake images called real.
    positives, negatives
        Number of all mistakes of either kind.
    images
        Number of images that were judged.
    unreadable
        Ids of the images that cannot be read.
    """

    false_positives: list[Mistake]
    false_negatives: list[Mistake]
    positives: int
    negatives: int
    images: int
    unreadable: list[str]


def worst_mistakes(
    detector: Detector | nn.Module | str,
    data: DataLike,
    count: int = 8,
    *,
    split: str | None = None,
    limit: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Hardest:
    """Return the images that a detector misjudges with the largest distance to its threshold.

    Parameters
    ----------
    detector, data, split, limit
        As of ``evaluate``.
    count
        Largest number of mistakes of either kind.
    advance
        Called with the number of newly judged images.

    Raises
    ------
    UserError
        If the data cannot be read, or the detector fails.
    """
    loaded, chosen = load_detector(detector, device="auto"), as_image_data(data, split, limit)
    kept: tuple[list[Mistake], list[Mistake]] = ([], [])
    totals, judged, unreadable = [0, 0], 0, list[str]()
    rows = chosen.selection.indices
    for first in range(0, len(rows), _CHUNK):
        samples, levels, failed = readable(chosen, rows[first : first + _CHUNK])
        unreadable += failed
        odds = _odds(loaded, levels)
        judged += len(samples)
        for sample, value, image in zip(samples, odds.tolist(), levels, strict=True):
            is_called_fake = value >= loaded.threshold.log_odds
            if is_called_fake != bool(sample.label):
                totals[sample.label] += 1
                kept[sample.label].append(Mistake(sample, value, image))
        for label in (0, 1):
            # Farthest from the threshold on the wrong side first; equal ones by their ids.
            kept[label].sort(
                key=lambda each: (-abs(each.log_odds - loaded.threshold.log_odds), each.sample.id)
            )
            del kept[label][count:]
        advance(len(samples) + len(failed))
    return Hardest(kept[0], kept[1], totals[0], totals[1], judged, unreadable)


def _odds(detector: Detector, levels: list[Tensor]) -> NDArray[np.float32]:
    return detector.log_odds(levels).numpy() if levels else np.empty(0, np.float32)


def readable(data: ImageData, rows: list[int]) -> tuple[list[Sample], list[Tensor], list[str]]:
    """Return the samples and uint8 images of some rows of a source, and the ids of those that cannot be read."""
    samples, levels, failed = [], [], []
    for row in rows:
        sample = data.source.samples[row]
        try:
            levels.append(decode(read_encoded(data.source, row)))
            samples.append(sample)
        except UnreadableImageError:
            failed.append(sample.id)
    return samples, levels, failed
