"""Whether a detector is read as it was meant: which output is fake, the order of the channels, the normalisation.

All of it shows on labelled images. A network whose outputs are exchanged is right where it should be wrong; one that
gets other colours or another range than it was trained on is right more often once it gets its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from robustbench_aigen.detectors.contract import FAKE, Detector, verdicts
from robustbench_aigen.metrics.classification import ranking
from robustbench_aigen.metrics.paired import mcnemar_p_value

Score = Callable[[Detector], Tensor]
"""The scores of some labelled images by a detector, N float32."""

_NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "pixels in [0, 1]": ((0.0,) * 3, (1.0,) * 3),
    "pixels in [-1, 1]": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP's": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "levels from 0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
    "levels less Caffe's mean": ((103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3),
}
"""What networks are trained on: mean and standard deviation in pixel units."""
_SURE = 0.01
_BETTER = 0.05
"""By how much of the images another reading has to be right more often."""
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

    @property
    def right(self) -> NDArray[np.bool_]:
        return (verdicts(self.score, 0.5) == self.labels).numpy()

    @property
    def is_flipped(self) -> bool:
        return self.accuracy < 0.5

    @property
    def accuracy(self) -> float:
        """Balanced accuracy."""
        labels, right = self.labels.numpy(), self.right
        return float(np.mean([right[labels == label].mean() for label in (0, 1)]))

    @property
    def right_either_way(self) -> NDArray[np.bool_]:
        """Which images are right once the outputs stand the better way round."""
        return ~self.right if self.is_flipped else self.right


def read(detector: Detector, score: Score, labels: Tensor) -> Reading:
    """Look for settings under which a detector is clearly more often right.

    Parameters
    ----------
    detector
        As it is read now.
    score
        Scores the images by a detector; it is called up to nine times.
    labels
        N labels of the same images, both classes among them.
    """
    as_read = _Tried({}, "as read", score(detector), labels)
    best = as_read
    for what, (mean, std) in _NORMALISATIONS.items():
        own = detector.preprocessing
        if not (np.allclose(own.mean, mean, atol=1e-3) and np.allclose(own.std, std, atol=1e-3)):
            best = _better(best, _try(detector, {"mean": mean, "std": std}, what, score, labels))
    other = "rgb" if detector.preprocessing.channels == "bgr" else "bgr"
    for start in [as_read] if best is as_read else [as_read, best]:
        settings = {**start.settings, "channels": other}
        best = _better(best, _try(detector, settings, f"{start.what}, {other.upper()}", score, labels))
    found = []
    if best is not as_read and _is_clear(as_read, best):
        found.append(_other_input(as_read, best))
    else:
        best = as_read
    flipped = _exchanged(detector, best)
    if flipped is not None:
        found.append(flipped)
    return Reading(found, flipped is not None or _tells(best))


def _try(detector: Detector, settings: dict[str, Any], what: str, score: Score, labels: Tensor) -> _Tried:
    return _Tried(settings, what, score(detector.read_as(**settings)), labels)


def _better(one: _Tried, other: _Tried) -> _Tried:
    return other if other.right_either_way.mean() > one.right_either_way.mean() else one


def _is_clear(as_read: _Tried, best: _Tried) -> bool:
    """Whether another reading is right more often by more than chance and the number of readings tried explain."""
    before, after = as_read.right_either_way, best.right_either_way
    is_more = after.mean() - before.mean() >= _BETTER
    return bool(is_more) and mcnemar_p_value(before, after) * (len(_NORMALISATIONS) + 2) < _SURE


def _other_input(as_read: _Tried, best: _Tried) -> Finding:
    names = {frozenset({"mean", "std"}): "normalisation", frozenset({"channels"}): "order of channels"}
    what = names.get(frozenset(best.settings), "normalisation and order of channels")
    settings = ", ".join(f"{name}: {_written(value)}" for name, value in best.settings.items())
    before, after = as_read.right_either_way.mean(), best.right_either_way.mean()
    return Finding(
        best.settings,
        f"the {what} looks wrong: accuracy {_percent(before)} as read, {_percent(after)} with "
        f"{best.what.removeprefix('as read, ')}; set {settings}",
    )


def _exchanged(detector: Detector, tried: _Tried) -> Finding | None:
    """Return that the outputs stand the wrong way round, where they do."""
    index = detector.preprocessing.fake_index
    if _is_above_chance(1 - tried.accuracy, ~tried.right):
        measured = f"accuracy {_percent(tried.accuracy)} as read, {_percent(1 - tried.accuracy)} flipped"
    elif _ranks(-tried.score, tried):
        auroc = ranking(tried.score, tried.labels)["auroc"]
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
    from scipy.stats import mannwhitneyu

    fake, real = score[tried.labels == FAKE], score[tried.labels != FAKE]
    test = mannwhitneyu(fake.numpy(), real.numpy(), alternative="greater")
    return bool(test.statistic / (len(fake) * len(real)) >= _FLIPPED and test.pvalue < _SURE)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "[" + ", ".join("1/255" if abs(v - 1 / 255) < 1e-9 else f"{v:.4g}" for v in value) + "]"
