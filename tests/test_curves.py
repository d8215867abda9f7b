"""Curves, tails and intervals are those of scikit-learn and scipy.stats to the last bit, without importing them."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from robustbench_aigen.data.audit.verdict import _wilson
from robustbench_aigen.metrics.tail_tests import binomial_tail, mann_whitney_less
from robustbench_aigen.numerics import curves


def samples():
    """Labels and scores: distinct, tied, all equal, float32 and float64, both rare and equally common classes."""
    rng = np.random.default_rng(7)
    for number in range(240):
        count = int(rng.integers(2, 400))
        labels = (rng.random(count) < (0.5, 0.05, 0.9)[number % 3]).astype(np.int64)
        labels[:2] = 0, 1
        scores = rng.normal(size=count)
        scores = (scores, scores.round(1), scores.round(), np.zeros(count))[number % 4]
        yield labels, scores.astype((np.float32, np.float64)[number % 2])


@pytest.mark.parametrize("drops", [False, True])
def test_curves_are_those_of_scikit_learn(drops):
    for labels, scores in samples():
        ours = curves.roc_curve(labels, scores, drop_intermediate=drops)
        for own, theirs in zip(ours, sk.roc_curve(labels, scores, drop_intermediate=drops), strict=True):
            assert np.array_equal(own, theirs)
        ours = curves.precision_recall_curve(labels, scores, drop_intermediate=drops)
        theirs = sk.precision_recall_curve(labels, scores, drop_intermediate=drops)[:2]
        assert all(np.array_equal(own, other) for own, other in zip(ours, theirs, strict=True))


def test_areas_are_those_of_scikit_learn():
    for labels, scores in samples():
        fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
        assert curves.area_under(curves.roc_curve(labels, scores)) == sk.auc(fpr, tpr)
        assert curves.average_precision(labels, scores) == sk.average_precision_score(labels, scores)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_have_no_curve(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        curves.roc_curve(np.array([0, 1, 1]), np.array([0.0, 1.0, value]))


@pytest.mark.parametrize("chance", [0.5, 0.05, 1 / 3, 0.999])
@pytest.mark.parametrize("count", [0, 1, 2, 17, 64, 1000, 20_000])
def test_the_binomial_tail_is_scipys(count, chance):
    successes = np.unique(np.linspace(0, count + 1, 200).astype(int))
    ours = [binomial_tail(int(number), count, chance) for number in successes]
    assert ours == stats.binom.sf(successes - 1, count, chance).tolist()


def test_mann_whitney_is_scipys():
    for labels, scores in samples():
        fake, real = (scores[labels == label].astype(float) for label in (1, 0))
        ours = mann_whitney_less(fake, real)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = stats.mannwhitneyu(fake, real, alternative="less", method="asymptotic")
        assert (ours.statistic, ours.p_value) == (theirs.statistic, theirs.pvalue)
        assert np.array_equal(ours.ranks, stats.rankdata(np.concatenate([fake, real])))


@pytest.mark.parametrize("count", [1, 2, 30, 777, 50_000])
def test_wilsons_interval_of_the_audit_is_scipys(count):
    for successes in sorted({0, 1, count // 3, count // 2, count - 1, count}):
        theirs = stats.binomtest(successes, count).proportion_ci(method="wilson")
        assert _wilson(successes, count) == (theirs.low, theirs.high)


def test_a_sample_that_is_higher_is_one_whose_other_is_lower():
    for labels, scores in samples():
        fake, real = (scores[labels == label].astype(float) for label in (1, 0))
        ours = mann_whitney_less(real, fake)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = stats.mannwhitneyu(fake, real, alternative="greater", method="asymptotic")
        assert len(fake) * len(real) - ours.statistic == theirs.statistic
        assert ours.p_value == theirs.pvalue
