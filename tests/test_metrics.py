"""Numbers against scipy, closed forms and brute force."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binomtest, chi2
from sklearn import metrics as sk

from robustbench_aigen import Run, UserError, evaluate
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.metrics.intervals import paired_drop_interval, wilson_interval
from robustbench_aigen.metrics.metric import METRICS
from robustbench_aigen.metrics.paired import mcnemar_p_value


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 20), (931, 1000)])
def test_wilson_is_scipys(successes, count):
    expected = binomtest(successes, count).proportion_ci(method="wilson")
    assert wilson_interval(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_covers():
    rng = np.random.default_rng(0)
    hits = [
        low <= 0.9 <= high
        for low, high in (wilson_interval(int(k), 200) for k in rng.binomial(200, 0.9, 3000))
    ]
    assert 0.935 <= np.mean(hits) <= 0.965


def test_nothing_to_count_has_no_interval():
    empty = np.array([], dtype=bool)
    assert np.isnan(wilson_interval(0, 0)).all()
    assert np.isnan(paired_drop_interval(empty, empty)).all()
    assert np.isnan(mcnemar_p_value(empty, empty))


def test_the_multinomial_bootstrap_is_the_bootstrap():
    rng = np.random.default_rng(1)
    before, after = rng.random(300) < 0.9, rng.random(300) < 0.6
    rows = rng.integers(0, 300, (4000, 300))
    naive = np.quantile(before[rows].mean(axis=1) - after[rows].mean(axis=1), [0.025, 0.975])
    assert paired_drop_interval(before, after) == pytest.approx(tuple(naive), abs=0.01)


def test_the_drop_interval_covers():
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(400):
        before = rng.random(300) < 0.9
        after = np.where(rng.random(300) < 0.3, False, before)
        low, high = paired_drop_interval(before, after, draws=2000)
        hits.append(low <= 0.27 <= high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_mcnemar_is_the_sign_test_and_near_the_chi_square_when_large():
    before = np.array([True] * 400)
    after = np.array([False] * 30 + [True] * 370)
    assert mcnemar_p_value(before, after) == pytest.approx(2 * 0.5**30)
    before, after = np.array([True] * 120 + [False] * 80), np.array([False] * 120 + [True] * 80)
    assert mcnemar_p_value(before, after) == pytest.approx(chi2.sf((39) ** 2 / 200, 1), abs=0.002)
    assert mcnemar_p_value(after, after) == 1


def test_rates_are_scikit_learns_and_rankings_are_counted():
    rng = np.random.default_rng(3)
    labels, score = (
        rng.integers(0, 2, 500),
        (0.003 + 0.99 * np.round(rng.random(500), 2)).astype(np.float32),
    )  # with ties
    verdict = (score >= 0.5).astype(int)
    ours = rates(verdict, labels) | ranking(np.log(score / (1 - score)), labels)
    expected = {
        "accuracy": sk.accuracy_score(labels, verdict),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, verdict),
        "tpr": sk.recall_score(labels, verdict),
        "tnr": sk.recall_score(labels, verdict, pos_label=0),
        "precision": sk.precision_score(labels, verdict),
        "f1": sk.f1_score(labels, verdict),
        "auroc": won_pairs(labels, score),
        "ap": average_precision(labels, score),
        "tpr_at_fpr_1": tpr_at(labels, score, 0.01),
        "tpr_at_fpr_5": tpr_at(labels, score, 0.05),
        "ece": calibration_error(labels, score),
    }
    assert ours == pytest.approx(expected, abs=1e-6)


def won_pairs(labels, score):
    """The share of pairs of a fake and a real in which the fake has the higher score; ties count half."""
    gaps = np.subtract.outer(score[labels == 1], score[labels == 0])
    return (gaps > 0).mean() + (gaps == 0).mean() / 2


def average_precision(labels, score):
    """The precision at each score, weighted by the recall that is gained there."""
    total, before = 0.0, 0.0
    for threshold in np.unique(score)[::-1]:
        called = score >= threshold
        recall = called[labels == 1].mean()
        total, before = total + (recall - before) * labels[called].mean(), recall
    return total


def tpr_at(labels, score, allowed):
    rates_ = [
        ((score >= t)[labels == 0].mean(), (score >= t)[labels == 1].mean()) for t in [*np.unique(score), 2]
    ]
    return max(tpr for fpr, tpr in rates_ if fpr <= allowed)


def calibration_error(labels, score):
    """Guo et al. 2017, equation 3, on the probability of fake: 15 bins of equal width."""
    place = np.clip(np.ceil(score * 15).astype(int) - 1, 0, 14)
    gaps = [
        (place == number).mean() * abs(labels[place == number].mean() - score[place == number].mean())
        for number in range(15)
        if (place == number).any()
    ]
    return sum(gaps)


def test_a_missing_class_leaves_its_metrics_empty():
    ones, zeros = np.ones(4, dtype=int), np.zeros(4, dtype=int)
    row = rates(ones, ones) | ranking(np.full(4, 0.3, np.float32), ones)
    assert row["tpr"] == 1
    empty = ("tnr", "balanced_accuracy", "auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece")
    assert all(np.isnan(row[name]) for name in empty)
    none = rates(zeros, zeros)
    assert none["tnr"] == 1
    assert all(np.isnan(none[name]) for name in ("tpr", "precision", "f1"))


def optional_metrics(seed: int, count: int = 300, *, tied: bool = False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    log_odds = rng.normal(1.3 * labels - 0.5, 1)
    log_odds = (np.round(2 * log_odds) / 2 if tied else log_odds).astype(np.float32)
    return log_odds, labels


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_optional_metrics_are_those_of_other_libraries(seed, tied):
    log_odds, labels = optional_metrics(seed, tied=tied)
    score, verdict = expit(log_odds.astype(float)), (log_odds >= 0).astype(int)
    assert METRICS["matthews"](verdict, labels) == pytest.approx(sk.matthews_corrcoef(labels, verdict))
    assert METRICS["brier"](score, labels) == pytest.approx(sk.brier_score_loss(labels, score))
    assert METRICS["nll"](log_odds, labels) == pytest.approx(sk.log_loss(labels, score))
    fpr, tpr, _ = sk.roc_curve(labels, log_odds, drop_intermediate=False)
    root = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1, xtol=1e-14)
    assert METRICS["eer"](log_odds, labels) == pytest.approx(root, abs=1e-9)
    assert METRICS["tpr_at_fpr_10"](log_odds, labels) == pytest.approx(tpr[fpr <= 0.1].max())
    best = max(
        sk.balanced_accuracy_score(labels, log_odds >= limit) for limit in [*np.unique(log_odds), np.inf]
    )
    assert METRICS["best_accuracy"](log_odds, labels) == pytest.approx(best)


def test_optional_metrics_at_the_edges():
    perfect, wrong = np.array([-3.0, 3.0], np.float32), np.array([3.0, -3.0], np.float32)
    labels = np.array([0, 1])
    assert METRICS["eer"](perfect, labels) == 0
    assert METRICS["eer"](wrong, labels) == 1
    assert METRICS["eer"](np.zeros(2, np.float32), labels) == 0.5
    assert METRICS["best_accuracy"](wrong, labels) == 0.5
    far = METRICS["nll"](np.array([-200.0], np.float32), np.array([1]))
    assert far == pytest.approx(200), "finite where the probability is 0 in float32"
    for name in ("eer", "tpr_at_fpr_10", "best_accuracy", "matthews"):
        assert np.isnan(METRICS[name](np.array([1, 1]), np.array([1, 1])))


def test_optional_metrics_are_columns_where_a_scenario_names_them(tmp_path, cli):
    text = "version: 1\nname: more\ndata: {source: minigen, limit: 40}\ndetectors: [minigen/lenet5]\npipelines: {jpeg: [{perturb: jpeg}]}\n"
    (tmp_path / "more.yaml").write_text(f"{text}metrics: [eer, matthews]\n")
    assert cli("run", tmp_path / "more.yaml", "--output", tmp_path / "out").code == 0
    run = Run.load(tmp_path / "out" / "more" / "latest")
    assert list(run.summary.columns)[-2:] == ["eer", "matthews"]
    assert "EER" in (run.folder / "report.md").read_text()
    records = run.records[run.records["pipeline"] == "jpeg"]
    row = run.summary[(run.summary["pipeline"] == "jpeg") & (run.summary["generator"] == "all")].iloc[0]
    verdict = np.where(records["correct"], records["label"], 1 - records["label"])
    assert row["matthews"] == pytest.approx(sk.matthews_corrcoef(records["label"], verdict))
    assert evaluate("minigen/lenet5", limit=8).summary.columns[-1] not in ("eer", "matthews"), (
        "not named, not there"
    )
    (tmp_path / "wrong.yaml").write_text(f"{text}metrics: [err]\n")
    outcome = cli("validate", tmp_path / "wrong.yaml")
    assert outcome.code == 2
    assert "wrong.yaml:6: metrics: there is no metric 'err'" in outcome.err
    assert "did you mean 'eer'" in outcome.err
    with pytest.raises(UserError, match="'accuracy' is always computed"):
        evaluate("minigen/lenet5", limit=8, metrics=["accuracy"])
    assert cli("gate", run.folder, "--baseline", run.folder, "--metric", "matthews").code == 0
