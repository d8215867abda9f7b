"""Whether a detector is read as it was meant: which output is fake, the order of the channels, the normalisation.

All of it shows on labelled images. A network whose outputs are exchanged is right where it should be wrong; one that
gets other colours or another range than it was trained on is right more often once it gets its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu, wilcoxon
from torch import Tensor

from robustbench_aigen.detectors.contract import FAKE, Detector
from robustbench_aigen.detectors.normalisation import CLIP, IMAGENET, PIXELS, SYMMETRIC, Normalisation
from robustbench_aigen.metrics.classification import ranking
from robustbench_aigen.metrics.paired import mcnemar_p_value

Score = Callable[[Detector, int], Tensor]
"""The scores of the first so many labelled images by a detector, float32."""

_LEVEL = (1 / 255, 1 / 255, 1 / 255)
_NORMALISATIONS = {
    "pixels in [0, 1]": PIXELS,
    "pixels in [-1, 1]": SYMMETRIC,
    "ImageNet's": IMAGENET,
    "CLIP's": CLIP,
    "levels from 0 to 255": Normalisation((0.0, 0.0, 0.0), _LEVEL),
    "levels less Caffe's mean": Normalisation((103.939 / 255, 116.779 / 255, 123.68 / 255), _LEVEL),
}
"""What networks are trained on: mean and standard deviation in pixel units."""
_SURE = 0.01
_BETTER, _BETTER_COLOURS = 0.05, 0.02
"""By how much of the images another normalisation, or order of channels, has to be right more often."""
_FEW = 96
"""Images on which normalisations are tried: wrong ones cost many points."""
_FLIPPED = 0.7
"""Balanced accuracy, or AUROC, from which on exchanged outputs are what is meant."""


class Finding(NamedTuple):
    """A setting that labelled images speak against.

    Parameters
    ----------
    settings
        What to set instead.
    sentence
        What was measured, and what to write.
    """

    settings: dict[str, Any]
    sentence: str


class Reading(NamedTuple):
    """What labelled images say of a detector's settings.

    ``says_fake`` is whether they tell at all which output is fake.
    """

    findings: list[Finding]
    says_fake: bool


class _Tried(NamedTuple):
    """A way to read a detector, and what it makes of the images."""

    settings: dict[str, Any]
    what: str
    score: Tensor
    labels: Tensor

    def of_first(self, count: int) -> "_Tried":
        """Return what it makes of the first images."""
        return self._replace(score=self.score[:count], labels=self.labels[:count])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images get the right verdict."""
        return ((self.score >= 0.5).long() == self.labels).numpy()

    @property
    def accuracy(self) -> float:
        """Balanced accuracy."""
        labels, right = self.labels.numpy(), self.right
        return float(np.mean([right[labels == label].mean() for label in (0, 1)]))

    @property
    def right_either_way(self) -> NDArray[np.bool_]:
        """Which images are right once the outputs stand the better way round."""
        return ~self.right if self.accuracy < 0.5 else self.right

    @property
    def margin(self) -> NDArray[np.float64]:
        """By how many nats the right class leads, once the outputs stand the better way round."""
        nats = torch.logit(self.score.double().clamp(1e-12, 1 - 1e-12))
        signed = torch.where(self.labels == FAKE, nats, -nats).numpy()
        return -signed if self.accuracy < 0.5 else signed


def read(detector: Detector, score: Score, labels: Tensor) -> Reading:
    """Look for settings under which a detector is clearly more often right.

    Parameters
    ----------
    detector
        As it is read now.
    score
        Scores the first so many images by a detector; it is called up to nine times.
    labels
        N labels of the same images, both classes among them, and as evenly among the first as among all.
    """

    def tried(settings: dict[str, Any], what: str, count: int) -> _Tried:
        return _Tried(settings, what, score(detector.read_as(**settings), count), labels[:count])

    as_read, found = tried({}, "as read", len(labels)), []
    best, few = as_read, min(_FEW, len(labels))
    own = detector.preprocessing
    for what, (mean, std) in _NORMALISATIONS.items():
        if not (np.allclose(own.mean, mean, atol=1e-3) and np.allclose(own.std, std, atol=1e-3)):
            other = tried({"mean": mean, "std": std}, what, few)
            if other.right_either_way.sum() > best.of_first(few).right_either_way.sum():
                best = other
    if best is not as_read and _is_clearly_more_often_right(as_read.of_first(few), best):
        found.append(_finding("normalisation", as_read.of_first(few), best))
        best = tried(best.settings, best.what, len(labels))
    else:
        best = as_read
    channels = "rgb" if own.channels == "bgr" else "bgr"
    swapped = tried({**best.settings, "channels": channels}, channels.upper(), len(labels))
    if _separates_better(best, swapped):
        only = swapped._replace(settings={"channels": channels})
        found.append(_finding("order of the channels", best, only))
        best = swapped
    flipped = _exchanged(detector, best)
    if flipped is not None:
        found.append(flipped)
    return Reading(found, flipped is not None or _tells(best))


def _is_clearly_more_often_right(before: _Tried, after: _Tried) -> bool:
    """Whether another normalisation is right more often than chance and the number of those tried explain."""
    one, other = before.right_either_way, after.right_either_way
    is_more = other.mean() - one.mean() >= _BETTER
    return bool(is_more) and mcnemar_p_value(one, other) * len(_NORMALISATIONS) < _SURE


def _separates_better(before: _Tried, after: _Tried) -> bool:
    """Whether exchanged colours make a detector right more often, and surer of it image by image.

    Exchanging them costs most detectors few points of accuracy; margins show it on fewer images, and are on the same
    scale here.
    """
    difference = after.margin - before.margin
    is_more = after.right_either_way.mean() - before.right_either_way.mean() >= _BETTER_COLOURS
    if not is_more or not difference.any():
        return False
    return bool(wilcoxon(difference, alternative="greater").pvalue < _SURE / 10)


def _finding(what: str, before: _Tried, after: _Tried) -> Finding:
    settings = ", ".join(f"{name}: {_written(value)}" for name, value in after.settings.items())
    shares = [_percent(tried.right_either_way.mean()) for tried in (before, after)]
    return Finding(
        after.settings,
        f"the {what} looks wrong: accuracy {shares[0]} {before.what}, {shares[1]} with {after.what}; set {settings}",
    )


def _exchanged(detector: Detector, tried: _Tried) -> Finding | None:
    """Return that the outputs stand the wrong way round, where they do."""
    index = detector.preprocessing.fake_index
    if _is_above_chance(1 - tried.accuracy, ~tried.right):
        measured = f"accuracy {_percent(tried.accuracy)} as read, {_percent(1 - tried.accuracy)} flipped"
    elif _ranks(-tried.score, tried):
        auroc = ranking(tried.score.numpy(), tried.labels.numpy())["auroc"]
        measured = f"AUROC {auroc:.2f} as read, {1 - auroc:.2f} flipped"
    else:
        return None
    other = 1 - index
    return Finding(
        {"fake_index": other}, f"output {index} looks like *real*: {measured}; set `fake_index: {other}`"
    )


def _tells(tried: _Tried) -> bool:
    """Whether the outputs clearly stand the right way round."""
    return _is_above_chance(tried.accuracy, tried.right) or _ranks(tried.score, tried)


def _is_above_chance(accuracy: float, right: NDArray[np.bool_]) -> bool:
    p_value = binomtest(int(right.sum()), len(right), 0.5, alternative="greater").pvalue
    return accuracy >= _FLIPPED and p_value < _SURE


def _ranks(score: Tensor, tried: _Tried) -> bool:
    """Whether scores put fakes above reals: for detectors that call everything the same."""
    fake, real = score[tried.labels == FAKE], score[tried.labels != FAKE]
    test = mannwhitneyu(fake.numpy(), real.numpy(), alternative="greater")
    return bool(test.statistic / (len(fake) * len(real)) >= _FLIPPED and test.pvalue < _SURE)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "[" + ", ".join("1/255" if abs(v - 1 / 255) < 1e-9 else f"{v:.4g}" for v in value) + "]"
