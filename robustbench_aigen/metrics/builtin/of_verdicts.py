"""Metrics that follow from how many images of each class are called fake; *fake* is the positive class."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.metric import metric
from robustbench_aigen.metrics.weighted import count_metric

Verdicts = NDArray[np.integer]


def _of(name: str, verdict: Verdicts, labels: Verdicts) -> float:
    fake, called = labels == 1, verdict == 1
    counts = [np.array(rows.sum(), float) for rows in (called & fake, fake, ~called & ~fake, ~fake)]
    return float(count_metric(name, *counts))


@metric(
    "accuracy",
    title="accuracy",
    needs="verdicts",
    gated=True,
    resampled=partial(count_metric, "accuracy"),
    share_of=(0, 1),
)
def accuracy(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the share of images judged right."""
    return _of("accuracy", verdict, labels)


@metric(
    "balanced_accuracy",
    title="balanced accuracy",
    needs="verdicts",
    gated=True,
    resampled=partial(count_metric, "balanced_accuracy"),
)
def balanced_accuracy(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the mean of TPR and TNR."""
    return _of("balanced_accuracy", verdict, labels)


@metric(
    "tpr", title="TPR", needs="verdicts", gated=True, resampled=partial(count_metric, "tpr"), share_of=(1,)
)
def tpr(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the share of fakes called fake."""
    return _of("tpr", verdict, labels)


@metric(
    "tnr", title="TNR", needs="verdicts", gated=True, resampled=partial(count_metric, "tnr"), share_of=(0,)
)
def tnr(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the share of reals called real."""
    return _of("tnr", verdict, labels)


@metric(
    "precision",
    title="precision",
    needs="verdicts",
    gated=True,
    resampled=partial(count_metric, "precision"),
)
def precision(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the share of fakes among the images called fake."""
    return _of("precision", verdict, labels)


@metric("f1", title="F1", needs="verdicts", gated=True, resampled=partial(count_metric, "f1"))
def f1(verdict: Verdicts, labels: Verdicts) -> float:
    """Return the harmonic mean of precision and TPR."""
    return _of("f1", verdict, labels)
