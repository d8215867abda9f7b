"""Losses of a metric between two sets of verdicts, with significance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.metrics.bootstrap import (
    SEED,
    clusters_of,
    percentile_interval,
    resampled_sums,
    weighted_values,
)
from robustbench_aigen.metrics.metric import Metric
from robustbench_aigen.metrics.paired import Alternative, mcnemar_p_value
from robustbench_aigen.metrics.summary import metric_value, resampled_values

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MetricLoss:
    """Metric in the baseline and now, the loss with its 95 % interval, and the p-value of the test of no loss."""

    baseline: float
    current: float
    low: float
    high: float
    p_value: float

    @property
    def loss(self) -> float:
        """Baseline minus current."""
        return self.baseline - self.current


def paired_loss(
    metric: Metric,
    baseline: pd.DataFrame,
    current: pd.DataFrame,
    draws: int,
    alternative: Alternative = "greater",
) -> MetricLoss:
    """Return the loss of a metric on the same images.

    Shares of images judged right are tested with McNemar's exact test by source image, all others with the bootstrap
    over source images (Efron and Tibshirani 1993, section 15.3).

    Parameters
    ----------
    metric
        Which one.
    baseline, current
        Records of the same images in the same order.
    draws
        Resamples.
    alternative
        ``greater``: the test is of a loss; ``two-sided``: of a change.
    """
    clusters = clusters_of(baseline["sha256"].to_numpy())
    if metric.of_verdicts:
        columns = np.concatenate([_counts(baseline), _counts(current)], axis=1)
        sums = resampled_sums(columns, clusters, draws)
        losses = metric.of_counts(sums[:, :4]) - metric.of_counts(sums[:, 4:])
    else:
        labels = baseline["label"].to_numpy(np.int64)
        values = [resampled_values(metric, part) for part in (baseline, current)]

        def lost(weights: NDArray[np.float32]) -> Floats:
            first, second = (metric.of_weights(each, labels, weights) for each in values)
            return first - second

        losses = weighted_values(lost, len(labels), clusters, draws)
    p_value = _bootstrap_p(losses, alternative)
    if metric.share_of:
        asked = baseline["label"].isin(metric.share_of).to_numpy()
        before, after = (part["correct"].to_numpy(bool)[asked] for part in (baseline, current))
        own = None if clusters is None else np.unique(clusters[asked], return_inverse=True)[1]
        p_value = mcnemar_p_value(before, after, alternative, own)
    return _loss(metric, baseline, current, losses, p_value)


def unpaired_loss(metric: Metric, baseline: pd.DataFrame, current: pd.DataFrame, draws: int) -> MetricLoss:
    """Return the loss of a metric between different images.

    Shares of images judged right are tested with Fisher's exact test where no image stands twice, all others with two
    independent bootstraps.

    Parameters
    ----------
    metric, baseline, current, draws
        As for :func:`paired_loss`, from any images.
    """
    sides = (baseline, current)
    before, after = (_resampled(metric, part, draws, SEED + number) for number, part in enumerate(sides))
    losses = before - after
    p_value = _bootstrap_p(losses, "greater")
    if metric.share_of and all(clusters_of(part["sha256"].to_numpy()) is None for part in sides):
        asked = [part["correct"].to_numpy(bool)[part["label"].isin(metric.share_of)] for part in sides]
        p_value = _fisher(*asked)
    return _loss(metric, baseline, current, losses, p_value)


def _loss(
    metric: Metric, baseline: pd.DataFrame, current: pd.DataFrame, losses: Floats, p_value: float
) -> MetricLoss:
    low, high = percentile_interval(losses, 0.95)
    return MetricLoss(metric_value(metric, baseline), metric_value(metric, current), low, high, p_value)


def _counts(part: pd.DataFrame) -> Floats:
    """Return N×4: a fake called fake, a fake, a real called real, a real."""
    right, fake = part["correct"].to_numpy(bool), part["label"].to_numpy() == 1
    return np.stack([right & fake, fake, right & ~fake, ~fake], axis=1).astype(float)


def _resampled(metric: Metric, part: pd.DataFrame, draws: int, seed: int) -> Floats:
    """Return a metric of every resample of some records."""
    clusters = clusters_of(part["sha256"].to_numpy())
    if metric.of_verdicts:
        return metric.of_counts(resampled_sums(_counts(part), clusters, draws, seed))
    labels, values = part["label"].to_numpy(np.int64), resampled_values(metric, part)

    def value(weights: NDArray[np.float32]) -> Floats:
        return metric.of_weights(values, labels, weights)

    return weighted_values(value, len(labels), clusters, draws, seed)


def _bootstrap_p(losses: Floats, alternative: Alternative) -> float:
    """Return the share of resamples without a loss, the sample itself counted among them; NaN where none has one."""
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        return float("nan")
    none = (1 + np.count_nonzero(losses <= _ROUND_OFF)) / (1 + len(losses))
    if alternative == "greater":
        return float(none)
    gain = (1 + np.count_nonzero(losses >= -_ROUND_OFF)) / (1 + len(losses))
    return float(min(1.0, 2 * min(none, gain)))


_ROUND_OFF = 1e-9


def _fisher(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Return the one-sided p-value of Fisher's exact test: the share of right ones is no lower than before."""
    if not len(before) or not len(after):
        return float("nan")
    from scipy.stats import hypergeom  # Heavy, and needed for runs on different images alone.

    right = int(before.sum())
    return float(hypergeom.sf(right - 1, len(before) + len(after), right + int(after.sum()), len(before)))
