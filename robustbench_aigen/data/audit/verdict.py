"""Separation of the classes by file properties: a small classifier against chance.

A decision tree sees the facts alone, never a picture. Its balanced accuracy (mean of the shares of reals and of fakes
judged right) by cross-validation is 50 % for uninformative facts and any balance of the classes. Whether it
is significant is a permutation test (Ojala and Garriga 2010, test 1): the labels are shuffled and the whole
cross-validation is done again.
"""

from collections import Counter
from collections.abc import Sequence
from math import ceil, hypot, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from robustbench_aigen.data.audit.facts import ImageFacts
from robustbench_aigen.data.audit.survey import Surveyed
from robustbench_aigen.data.splitting import order_key

MARGIN = 0.55
"""Balanced accuracy from which on a difference raises an alarm."""
LEVEL = 0.01
"""Probability of a false alarm, for all comparisons of an audit together."""
MOST = 2000
"""Images that a classifier is given at most."""
_FOLDS = 5
_FEWEST = 6
"""Fewest images of a class for a significant accuracy: 5 and 5 are separated by chance one time in 126."""
_PLAIN = 4.0
"""Standard deviations above the shuffled labels' mean from which on more shuffles would change nothing."""
_FIRST = 99
_TAIL = 3e-5
"""The normal distribution beyond ``_PLAIN`` standard deviations."""

Floats = NDArray[np.float64]
Call = Literal["chance", "slight", "confound", "too few"]


class Accuracy(NamedTuple):
    """A cross-validated balanced accuracy with its 95 % interval, 0…1."""

    value: float
    low: float
    high: float


class Verdict(NamedTuple):
    """Verdict on the file properties of some images.

    ``call`` is ``confound`` if they separate the classes, ``slight`` if they do by less than
    ``MARGIN``, ``chance`` if the separation is not significant, ``too few`` where that cannot be said. ``by_fact`` are
    accuracies from one group of facts alone. ``images`` is how many were used.
    """

    call: Call
    images: int
    accuracy: Accuracy | None
    p_value: float | None
    by_fact: dict[str, Accuracy]

    def told_by(self) -> list[str]:
        """Return the facts that separate the classes on their own, the strongest first."""
        telling = [(a.value, name) for name, a in self.by_fact.items() if a.low > 0.5 and a.value >= MARGIN]
        return [name for _, name in sorted(telling, key=lambda pair: -pair[0])]

    def sentence(self) -> str:
        """Return the verdict as a sentence."""
        if self.accuracy is None:
            return f"too few images to judge whether file properties separate the classes: at least {_FEWEST} of each class are needed"
        told = f"{100 * self.accuracy.value:.1f} % balanced accuracy from file properties, chance is 50 %"
        if self.call == "confound":
            by = ", ".join(self.told_by()) or "several properties together"
            return f"CONFOUND: file properties separate real from fake ({told}): {by}"
        if self.call == "slight":
            return f"no confound: {told}; significant, but below the alarm level of {100 * MARGIN:.0f} %"
        return f"no confound: {told}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        content = self._asdict()
        content["accuracy"] = self.accuracy and self.accuracy._asdict()
        content["by_fact"] = {name: accuracy._asdict() for name, accuracy in self.by_fact.items()}
        return {**content, "told_by": self.told_by(), "sentence": self.sentence()}


def judge_facts(images: Sequence[Surveyed], *, comparisons: int = 1) -> Verdict:
    """Judge whether the facts of some images tell real from fake.

    Parameters
    ----------
    images
        Images of both classes. Exact duplicates count once, and of more than ``MOST`` a fixed sample is taken.
    comparisons
        Number of verdicts that share the chance of a false alarm (Bonferroni).
    """
    chosen = _sampled(images)
    labels = np.array([image.sample.label for image in chosen], dtype=np.int64)
    if np.bincount(labels, minlength=2).min() < _FEWEST:
        return Verdict("too few", len(chosen), None, None, {})
    groups = _features([image.facts for image in chosen])
    fold = _folds(labels)
    by_fact = {
        name: _accuracy(_cross_validated(_Table(columns), labels, fold), labels)
        for name, columns in groups.items()
    }
    table = _Table(np.hstack(list(groups.values())))
    accuracy = _accuracy(_cross_validated(table, labels, fold), labels)
    # What is too little for an alarm cannot be a false one: it need not share the level.
    level = LEVEL if accuracy.value < MARGIN else LEVEL / comparisons
    p_value = _permutation_test(table, labels, accuracy.value, level)
    call: Call = "chance" if p_value > level else "slight" if accuracy.value < MARGIN else "confound"
    return Verdict(call, len(chosen), accuracy, p_value, by_fact)


def _sampled(images: Sequence[Surveyed]) -> list[Surveyed]:
    """Return a fixed sample, with as many of each class as there are, that does not depend on the order."""
    seen: set[bytes] = set()
    by_class: dict[int, list[Surveyed]] = {0: [], 1: []}
    for image in sorted(images, key=lambda image: order_key(image.sample.id)):
        if image.fingerprint is not None and image.fingerprint.content in seen:
            continue
        if image.fingerprint is not None:
            seen.add(image.fingerprint.content)
        by_class[image.sample.label].append(image)
    fewer = min(len(some) for some in by_class.values())
    most = max(MOST // 2, MOST - fewer)
    chosen = [image for some in by_class.values() for image in some[:most]]
    # The place of an image must not depend on its class, because folds are made by place.
    return sorted(chosen, key=lambda image: order_key(image.sample.id))


def _folds(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a fold for each image; each class is spread evenly. The order of the images is random already."""
    fold = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        fold[rows] = np.arange(len(rows)) % _FOLDS
    return fold


class _Table:
    """Rows of facts, each different one once: thousands of images share a few."""

    def __init__(self, columns: Floats) -> None:
        self.rows, row_of = np.unique(columns, axis=0, return_inverse=True)
        self.row_of = row_of.reshape(-1)


def _cross_validated(table: _Table, labels: NDArray[np.int64], fold: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a prediction for each image, by a tree that has seen the other folds alone."""
    count = len(table.rows)
    predicted = np.zeros(len(labels), dtype=np.int64)
    if count == 1:
        return predicted
    from sklearn import config_context  # Heavy, and seldom needed: most data sets are stored in one way.
    from sklearn.tree import DecisionTreeRegressor

    held = np.bincount((fold * 2 + labels) * count + table.row_of, minlength=_FOLDS * 2 * count)
    held = held.reshape(_FOLDS, 2, count)
    both = np.vstack([table.rows, table.rows]).astype(np.float32)
    answers = np.repeat([0.0, 1.0], count)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for left_out in range(_FOLDS):
            seen = held.sum(axis=0) - held[left_out]
            weight = (seen / seen.sum(axis=1, keepdims=True)).reshape(-1)
            used = weight > 0
            # On answers of 0 and 1 the squared error is Gini's impurity: a classifier without its checks of classes.
            tree = DecisionTreeRegressor(max_depth=5, min_weight_fraction_leaf=0.01, random_state=0)
            tree.fit(both[used], answers[used], sample_weight=weight[used], check_input=False)
            rows = fold == left_out
            predicted[rows] = (tree.predict(both[:count], check_input=False) > 0.5)[table.row_of[rows]]
    return predicted


def _balanced(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    right = predicted == labels
    return float((right[labels == 0].mean() + right[labels == 1].mean()) / 2)


def _accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Accuracy:
    """Return the balanced accuracy; its interval is put together from Wilson's of both classes (Newcombe 1998, MOVER)."""
    value = _balanced(predicted, labels)
    below = above = 0.0
    for label in (0, 1):
        right = predicted[labels == label] == label
        low, high = _wilson(int(right.sum()), len(right))
        below, above = hypot(below, right.mean() - low), hypot(above, high - right.mean())
    return Accuracy(value, max(0.0, value - below / 2), min(1.0, value + above / 2))


def _wilson(successes: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a rate (Wilson 1927), as ``scipy.stats`` computes it, which takes longer to import."""
    z, rate = float(ndtri(0.975)), successes / count
    centre = (2 * count * rate + z**2) / (2 * (count + z**2))
    half = z / (2 * (count + z**2)) * sqrt(4 * count * rate * (1 - rate) + z**2)
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == count else centre + half


def _permutation_test(table: _Table, labels: NDArray[np.int64], accuracy: float, level: float) -> float:
    """Return the chance of such an accuracy, or a better one, with shuffled labels.

    It ends early when the result is clear: as chance once enough shuffles reach the accuracy, so that the others cannot
    bring it below ``level`` (Besag and Clifford 1991), and as significant if the accuracy is four standard deviations
    above 99 shuffles. Their normal tail is then returned.
    """
    if len(table.rows) == 1 or accuracy <= 0.5:
        return 1.0
    random = np.random.default_rng(42)
    most = 2 * ceil(1 / level) - 1
    tried: list[float] = []
    as_good = 0
    while len(tried) < most and (as_good + 1) / (most + 1) <= level:
        shuffled = random.permutation(labels)
        tried.append(_balanced(_cross_validated(table, shuffled, _folds(shuffled)), shuffled))
        as_good += tried[-1] >= accuracy - 1e-9
        if len(tried) == _FIRST and accuracy > np.mean(tried) + _PLAIN * np.std(tried):
            return _TAIL
    return (as_good + 1) / (len(tried) + 1)


_MOST_WORDS = 12
"""Largest number of distinct words of a fact; rarer words share one column."""


def _features(facts: Sequence[ImageFacts]) -> dict[str, NDArray[np.float64]]:
    """Return, for each group of facts, N×D numbers: sizes and qualities as they are, words one column each."""
    metadata = [fact.metadata for fact in facts]
    sides = np.array([[fact.width, fact.height] for fact in facts], dtype=np.float64).reshape(-1, 2)
    quality = np.array([[-1 if fact.quality is None else fact.quality] for fact in facts], dtype=np.float64)
    # As the first three digits say it: a crop by a pixel is no aspect of its own.
    aspect = np.round(sides[:, :1] / sides[:, 1:], 2)
    presence = np.array([[*data[:-1]] for data in metadata], dtype=np.float64).reshape(len(facts), -1)
    return {
        "format": _one_hot([f"{fact.format} {fact.mode} {fact.progressive}" for fact in facts]),
        "JPEG quality": np.hstack([quality, _one_hot([str(fact.encoder) for fact in facts])]),
        "subsampling": _one_hot([str(fact.subsampling) for fact in facts]),
        "width": sides[:, :1],
        "height": sides[:, 1:],
        "aspect": aspect,
        "metadata": np.hstack([presence, _one_hot([str(data.software) for data in metadata])]),
    }


def _one_hot(words: Sequence[str]) -> NDArray[np.float64]:
    # By count and then by name: the same columns for every order of the images.
    common = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    return np.array([[word == name for name, _ in common] for word in words], dtype=np.float64)
