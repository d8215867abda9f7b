"""Checks of a detector's settings on labelled images: size, normalisation, order of the channels, and the fake output.

All of it shows on labelled images. A network whose outputs are exchanged is right where it should be wrong; one that
gets another size, other colours or another range than it was trained on is right more often once it gets its own. The
settings are tried together: where two are wrong, mending one of them alone may show nothing.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.detectors.contract import FAKE, Detector
from robustbench_aigen.detectors.normalisation import CLIP, IMAGENET, PIXELS, SYMMETRIC, Normalisation
from robustbench_aigen.metrics.classification import ranking
from robustbench_aigen.metrics.paired import mcnemar_p_value
from robustbench_aigen.metrics.tail_tests import binomial_tail, mann_whitney_less
from robustbench_aigen.numerics.memory import is_out_of_memory

LogOdds = Callable[[Detector, int], Tensor]
"""The log-odds of *fake* by a detector for the first ``count`` labelled images, float32."""

_LEVEL = (1 / 255, 1 / 255, 1 / 255)
_NORMALISATIONS = {
    "pixels in [0, 1]": PIXELS,
    "pixels in [-1, 1]": SYMMETRIC,
    "ImageNet's": IMAGENET,
    "CLIP's": CLIP,
    "levels from 0 to 255": Normalisation((0.0, 0.0, 0.0), _LEVEL),
    "levels less Caffe's mean": Normalisation((103.939 / 255, 116.779 / 255, 123.68 / 255), _LEVEL),
}
"""Usual normalisations of networks: mean and standard deviation in pixel units."""
_SIDES = (224, 32)
"""Input sizes that are tried on a network that takes any."""
_SURE = 0.01
_BETTER, _BETTER_COLOURS = 0.05, 0.02
"""Least gain in accuracy of other settings, or of another order of channels alone."""
_FEW, _FEW_LARGE, _LARGE = 32, 16, 128**2
"""Images on which every combination is tried, and those of networks with a large input."""
_FINALISTS = 5
"""Combinations that are tried on all images."""
_ALIKE = 2
"""Images by which two combinations may differ for the surer one to be taken."""
_FLIPPED = 0.7
"""Balanced accuracy, or AUROC, from which on outputs count as swapped."""
_COUNTED = 8
"""Images of a class up to which the p-value of an AUROC counts the orders of the images, where no two are tied."""


class OutputIssue(NamedTuple):
    """A setting that labelled images contradict.

    Parameters
    ----------
    settings
        The settings to use instead.
    sentence
        The measurement, and the setting to write.
    """

    settings: dict[str, Any]
    sentence: str


class Reading(NamedTuple):
    """Result of the check of a detector's settings on labelled images.

    ``says_fake`` is whether they tell at all which output is fake.
    """

    issues: list[OutputIssue]
    says_fake: bool


class _Way(NamedTuple):
    """Settings that are tried together, by what they concern: ``input size``, ``normalisation``, ``channels``."""

    parts: dict[str, tuple[str, dict[str, Any]]]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from the present ones."""
        return {name: value for _, own in self.parts.values() for name, value in own.items()}

    def without(self, part: str) -> "_Way":
        """Return the same with one part as it is now."""
        return _Way({name: own for name, own in self.parts.items() if name != part})


class _Tried(NamedTuple):
    """A way to read a detector, and what it makes of the images."""

    way: _Way
    log_odds: Tensor
    labels: Tensor

    def of_first(self, count: int) -> "_Tried":
        """Return the log-odds of the first images under these settings."""
        return self._replace(log_odds=self.log_odds[:count], labels=self.labels[:count])

    @property
    def right(self) -> NDArray[np.bool_]:
        """Images with the right verdict."""
        return ((self.log_odds >= 0).long() == self.labels).numpy()

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
    def ranked_right(self) -> NDArray[np.bool_]:
        """The same at the median of all log-odds: of a detector that calls nearly everything the same."""
        right = ((self.log_odds >= self.log_odds.median()).long() == self.labels).numpy()
        return ~right if right.mean() < 0.5 else right

    @property
    def margin(self) -> NDArray[np.float64]:
        """By how many nats the right class leads, once the outputs stand the better way round."""
        signed = torch.where(self.labels == FAKE, self.log_odds, -self.log_odds).double().numpy()
        return -signed if self.accuracy < 0.5 else signed

    @property
    def loss(self) -> float:
        """The cross-entropy, once the outputs stand the better way round."""
        return float(np.logaddexp(0, -self.margin).mean())


_Right = Callable[[_Tried], NDArray[np.bool_]]


def read(
    detector: Detector, log_odds: LogOdds, labels: Tensor, sides: tuple[int, int] | None = None
) -> Reading:
    """Look for settings under which a detector is clearly more often right.

    Every combination of size, normalisation and order of the channels is tried on a few images, the best of them on
    all. It is told where it is right on five points more of the images, and McNemar's one-sided test is significant at
    p < 0.01 over all combinations. Exchanged outputs cost no forward pass.

    Parameters
    ----------
    detector
        As it is read now.
    log_odds
        Function for the log-odds of *fake* of the first images by a detector.
    labels
        N labels of the same images, both classes among them, and as evenly among the first as among all.
    sides
        Height and width of the images, where they are all of one size.
    """

    def tried(way: _Way, count: int) -> _Tried | None:
        try:
            found = log_odds(detector.read_as(**way.settings), count)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return None  # A size that the network does not take.
        return _Tried(way, found, labels[:count]) if found.isfinite().all() else None

    as_read = tried(_Way({}), len(labels))
    if as_read is None:
        return Reading([], says_fake=False)
    best = _best_way(detector, as_read, tried, sides)
    flipped = _exchanged(detector, best)
    if not best.way.parts:
        return Reading([] if flipped is None else [flipped], flipped is not None or _tells(best))
    settings = best.way.settings | ({} if flipped is None else flipped.settings)
    return Reading([_issue(as_read, best, settings)], flipped is not None or _tells(best))


def _best_way(
    detector: Detector,
    as_read: _Tried,
    tried: Callable[[_Way, int], _Tried | None],
    sides: tuple[int, int] | None,
) -> _Tried:
    """Return the way to read a detector that explains the labels best, the present one where none is clearly better."""
    count, best = len(as_read.labels), as_read
    ways = list(_ways(detector, sides))
    # So few are wrong that being right on them all would not be clear.
    least = next(
        errors for errors in range(1, count + 2) if 0.5**errors * len(ways) < _SURE or errors > count
    )
    if min((~as_read.right_either_way).sum(), (~as_read.ranked_right).sum()) >= least:
        height, width = detector.preprocessing.input_size or sides or (224, 224)
        few = min(_FEW_LARGE if height * width >= _LARGE else _FEW, count)
        screened = [each for way in ways if (each := tried(way, few)) is not None]
        # The ranking is tested if verdicts are not clear, at a tenth of their significance level.
        for right, tests in ((_verdict, len(ways)), (_rank, 10 * len(ways))):
            screened.sort(key=lambda each: (-right(each).sum(), each.loss))
            finalists = [
                each for few_ in screened[:_FINALISTS] if (each := tried(few_.way, count)) is not None
            ]
            found = _surest(finalists, right)
            if found is not None and _is_clearly_better(as_read, found, right, tests):
                best = _simplest(as_read, found, right, tried)
                break
    if detector.preprocessing.channels in ("rgb", "bgr") and "channels" not in best.way.parts:
        swapped = tried(_Way(best.way.parts | _swapped(detector)), count)
        if swapped is not None and _separates_better(best, swapped):
            best = swapped
    return best


def _verdict(tried: _Tried) -> NDArray[np.bool_]:
    return tried.right_either_way


def _rank(tried: _Tried) -> NDArray[np.bool_]:
    return tried.ranked_right


def _ways(detector: Detector, sides: tuple[int, int] | None) -> Iterator[_Way]:
    """Yield every combination of settings but the present one."""
    own = detector.preprocessing
    normalisations: list[dict[str, tuple[str, dict[str, Any]]]] = [{}]
    for what, (mean, std) in _NORMALISATIONS.items():
        if not (np.allclose(own.mean, mean, atol=1e-3) and np.allclose(own.std, std, atol=1e-3)):
            normalisations.append({"normalisation": (what, {"mean": mean, "std": std})})
    channels = [{}, _swapped(detector)] if own.channels in ("rgb", "bgr") else [{}]
    sizes = [{}, *({"input size": (what, settings)} for what, settings in _sizes(detector, sides))]
    for parts in product(sizes, normalisations, channels):
        way = _Way(parts[0] | parts[1] | parts[2])
        if way.parts:
            yield way


def _swapped(detector: Detector) -> dict[str, tuple[str, dict[str, Any]]]:
    channels = "rgb" if detector.preprocessing.channels == "bgr" else "bgr"
    return {"order of the channels": (channels.upper(), {"channels": channels})}


def _sizes(detector: Detector, sides: tuple[int, int] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield other sizes to try: usual ones of a network that takes any, cropped ones of one that has its own."""
    own = detector.preprocessing
    if own.input_size is None:
        for side in _SIDES:
            if sides != (side, side):
                yield f"{side}×{side}", {"input_size": (side, side)}
        return
    shorter = min(own.input_size)
    if own.crops and own.resize_to is None:
        yield (
            "the whole image",
            {"resize_to": own.input_size, "crop": "center", "stride": None, "combine": "mean_score"},
        )
    elif own.has_views:
        return
    elif own.resize_to is None:
        larger = round(shorter * 256 / 224)
        yield f"shorter side {larger} and a centre crop", {"resize_to": larger}
        if sides is None or sides[0] * own.input_size[1] != sides[1] * own.input_size[0]:
            yield f"shorter side {shorter} and a centre crop", {"resize_to": shorter}
    else:
        yield "the whole image", {"resize_to": own.input_size}


def _surest(finalists: list[_Tried], right: _Right) -> _Tried | None:
    """Return the finalist that is most often right; of those that hardly differ, the one with the lowest loss."""
    if not finalists:
        return None
    most = max(int(right(each).sum()) for each in finalists)
    return min((each for each in finalists if right(each).sum() >= most - _ALIKE), key=lambda each: each.loss)


def _simplest(
    as_read: _Tried, found: _Tried, right: _Right, tried: Callable[[_Way, int], _Tried | None]
) -> _Tried:
    """Leave out of a way what does not clearly matter."""
    for part in list(found.way.parts):
        other = as_read if len(found.way.parts) == 1 else tried(found.way.without(part), len(found.labels))
        if other is None or other is as_read:
            continue
        if part.startswith("order"):
            matters = _separates_better(other, found)
        else:
            matters = _is_clearly_better(other, found, right, len(found.way.parts))
        if not matters:
            found = other
    return found


def _is_clearly_better(before: _Tried, after: _Tried, right: _Right, tests: int) -> bool:
    """Whether other settings are right more often than chance and the number of those tried explain (one-sided)."""
    one, other = right(before), right(after)
    is_more = other.mean() - one.mean() >= _BETTER
    return bool(is_more) and mcnemar_p_value(one, other) / 2 * tests < _SURE


def _separates_better(before: _Tried, after: _Tried) -> bool:
    """Whether exchanged colours make a detector right more often, and surer of it image by image.

    Exchanging them costs most detectors few points of accuracy; margins show it on fewer images, and are on the same
    scale here.
    """
    difference = after.margin - before.margin
    is_more = after.right_either_way.mean() - before.right_either_way.mean() >= _BETTER_COLOURS
    if not is_more or not difference.any():
        return False
    from scipy.stats import wilcoxon  # Heavy, and seldom needed: other colours must help first.

    return bool(wilcoxon(difference, alternative="greater").pvalue < _SURE / 10)


def _issue(before: _Tried, after: _Tried, settings: dict[str, Any]) -> OutputIssue:
    """Return a sentence on a wrong setting: accuracy with the present and the other settings, and the key to write."""
    parts = list(after.way.parts)
    what = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    seems = "look" if len(parts) > 1 else "looks"
    written = ", ".join(f"{name}: {_written(value)}" for name, value in settings.items())
    instead = ", ".join(text for text, _ in after.way.parts.values())
    right, turned = float(before.right.mean()), "fake_index" in settings
    then = float((~after.right if turned else after.right).mean())
    if then - right >= _BETTER_COLOURS:
        measured = f"accuracy {_percent(right)} as read, {_percent(then)}"
    else:
        first, last = (
            ranking(each.log_odds.numpy(), each.labels.numpy())["auroc"] for each in (before, after)
        )
        measured = f"AUROC {first:.2f} as read, {1 - last if turned else last:.2f}"
    exchanged, real = "", ""
    if turned:
        exchanged, real = (
            " and the outputs exchanged",
            f"output {1 - settings['fake_index']} looks like *real* and ",
        )
    return OutputIssue(
        settings, f"{real}the {what} {seems} wrong: {measured} with {instead}{exchanged}; set {written}"
    )


def _exchanged(detector: Detector, tried: _Tried) -> OutputIssue | None:
    """Return the finding of swapped outputs, if any."""
    index = detector.preprocessing.fake_index
    if _is_above_chance(1 - tried.accuracy, ~tried.right):
        measured = f"accuracy {_percent(tried.accuracy)} as read, {_percent(1 - tried.accuracy)} flipped"
    elif _ranks(-tried.log_odds, tried):
        auroc = ranking(tried.log_odds.numpy(), tried.labels.numpy())["auroc"]
        measured = f"AUROC {auroc:.2f} as read, {1 - auroc:.2f} flipped"
    else:
        return None
    other = 1 - index
    return OutputIssue(
        {"fake_index": other}, f"output {index} looks like *real*: {measured}; set `fake_index: {other}`"
    )


def _tells(tried: _Tried) -> bool:
    """Whether the order of the outputs is clearly right."""
    return _is_above_chance(tried.accuracy, tried.right) or _ranks(tried.log_odds, tried)


def _is_above_chance(accuracy: float, right: NDArray[np.bool_]) -> bool:
    p_value = binomial_tail(int(right.sum()), len(right))
    return accuracy >= _FLIPPED and p_value < _SURE


def _ranks(log_odds: Tensor, tried: _Tried) -> bool:
    """Whether log-odds put fakes above reals: for detectors that call everything the same."""
    fake, real = log_odds[tried.labels == FAKE], log_odds[tried.labels != FAKE]
    if log_odds.isnan().any():
        return False
    pairs = len(fake) * len(real)
    if min(len(fake), len(real)) <= _COUNTED:
        from scipy.stats import mannwhitneyu  # Heavy, and seldom needed: for few images it counts the orders.

        test = mannwhitneyu(fake.numpy(), real.numpy(), alternative="greater")
        return bool(test.statistic / pairs >= _FLIPPED and test.pvalue < _SURE)
    lower = mann_whitney_less(real.double().numpy(), fake.double().numpy())
    return (pairs - lower.statistic) / pairs >= _FLIPPED and lower.p_value < _SURE


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _written(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    if all(isinstance(each, int) for each in value):
        return str(list(value))
    return "[" + ", ".join("1/255" if abs(v - 1 / 255) < 1e-9 else f"{v:.4g}" for v in value) + "]"
