"""Intervals, paired tests and corrections: against statsmodels, scikit-learn and brute force, and by simulation."""

import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from sklearn import metrics as sk

from robustbench_aigen.metrics import bootstrap
from robustbench_aigen.metrics.bootstrap import clusters_of, resampled_weights
from robustbench_aigen.metrics.intervals import (
    auroc_interval,
    paired_drop_interval,
    wilson_interval,
)
from robustbench_aigen.metrics.paired import holm, mcnemar_p_value
from robustbench_aigen.metrics.summary import summarise
from robustbench_aigen.metrics.weighted import COUNT_METRICS, SCORE_METRICS, count_metric, score_metric
from robustbench_aigen.numerics.image_quality import psnr, ssim
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import load_scenario
from robustbench_aigen.stages.pipeline import Pipeline

NO = np.array([], dtype=bool)


@pytest.mark.parametrize(
    ("successes", "count"), [(0, 1), (1, 1), (0, 40), (40, 40), (3, 17), (19_312, 20_000)]
)
def test_wilson_is_statsmodels(successes, count):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(successes, count, method="wilson")
    assert wilson_interval(successes, count) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "table", [[[5, 9], [2, 4]], [[0, 1], [0, 0]], [[300, 80], [120, 500]], [[3, 0], [0, 3]]]
)
def test_mcnemar_is_statsmodels(table):
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    before = np.repeat([True, True, False, False], np.ravel(table))
    after = np.repeat([True, False, True, False], np.ravel(table))
    expected = contingency.mcnemar(np.array(table), exact=True).pvalue
    assert mcnemar_p_value(before, after) == pytest.approx(expected, abs=1e-12)


def test_holm_is_statsmodels_and_leaves_gaps():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(0).random(50) ** 3
    p_values[7] = p_values[8]
    expected = multitest.multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected)
    gaps = np.insert(p_values, [0, 20], np.nan)
    assert holm(gaps)[~np.isnan(gaps)] == pytest.approx(expected)
    assert np.isnan(holm(gaps)[[0, 21]]).all()
    assert holm([]).shape == (0,)


def test_the_test_by_image_is_every_flip_of_its_signs():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(9), [3, 1, 2, 2, 1, 1, 3, 2, 1])
    before, after = rng.random(16) < 0.8, rng.random(16) < 0.5
    changes = np.bincount(clusters, weights=before.astype(float) - after)
    flips = np.array([np.dot(signs, np.abs(changes)) for signs in product([-1, 1], repeat=9)])
    greater = (flips >= changes.sum() - 1e-9).mean()
    assert mcnemar_p_value(before, after, "greater", clusters) == pytest.approx(greater)
    both = (np.abs(flips) >= abs(changes.sum()) - 1e-9).mean()
    assert mcnemar_p_value(before, after, clusters=clusters) == pytest.approx(both)


def test_an_image_twice_is_no_more_evidence():
    rng = np.random.default_rng(2)
    before, after = rng.random(200) < 0.9, rng.random(200) < 0.8
    twice = np.tile(np.arange(200), 2)
    doubled = [np.tile(values, 2) for values in (before, after)]
    assert mcnemar_p_value(*doubled, clusters=twice) == pytest.approx(mcnemar_p_value(before, after))
    assert paired_drop_interval(*doubled, clusters=twice) == paired_drop_interval(before, after)
    assert mcnemar_p_value(*doubled) < mcnemar_p_value(before, after)


def test_hashes_that_stand_once_are_no_clusters():
    assert clusters_of(np.array(["b", "a"], dtype=object)) is None
    assert clusters_of(np.array(["b", "a", "b"], dtype=object)).tolist() == [1, 0, 1]


def shared_effect(rng, images: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts of images that an attack takes in all cells or in none, mostly; 0.3 of them on average."""
    weak = rng.random(images) < 0.3
    fooled = np.where(rng.random((cells, images)) < 0.8, weak, rng.random((cells, images)) < 0.3)
    return np.ones(images * cells, dtype=bool), ~fooled.ravel()


def test_the_clustered_interval_covers_and_the_plain_one_does_not():
    rng, images, cells = np.random.default_rng(3), 150, 6
    clusters = np.tile(np.arange(images), cells)
    clustered, plain = [], []
    for _ in range(300):
        before, after = shared_effect(rng, images, cells)
        for hits, codes in ((clustered, clusters), (plain, None)):
            low, high = paired_drop_interval(before, after, draws=1000, clusters=codes)
            hits.append(low <= 0.3 <= high)
    assert 0.92 <= np.mean(clustered) <= 0.975
    assert np.mean(plain) < 0.8


def binormal(rng, count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % 2
    return labels, (rng.normal(size=count) + shift * labels).astype(np.float32)


def test_the_auroc_interval_covers():
    from scipy.stats import norm

    rng, shift = np.random.default_rng(4), 1.2
    truth, hits = norm.cdf(shift / np.sqrt(2)), []
    for _ in range(300):
        labels, score = binormal(rng, 150, shift)
        low, high = auroc_interval(labels, score, draws=400)
        hits.append(low <= truth <= high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_weighted_metrics_are_scikit_learns_on_the_resample():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 120)
    score = (np.round(rng.random(120), 1) * 0.5 + 0.25 * labels).astype(np.float32)  # many ties
    verdict = (score >= 0.5).astype(int)
    weights = next(resampled_weights(120, draws=5))
    for row in weights:
        rows = np.repeat(np.arange(120), row.astype(int))
        y, s, v = labels[rows], score[rows], verdict[rows]
        fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
        expected = {
            "auroc": sk.roc_auc_score(y, s),
            "ap": sk.average_precision_score(y, s),
            "tpr_at_fpr_1": tpr[fpr <= 0.01].max(),
            "tpr_at_fpr_5": tpr[fpr <= 0.05].max(),
            "accuracy": sk.accuracy_score(y, v),
            "balanced_accuracy": sk.balanced_accuracy_score(y, v),
            "tpr": sk.recall_score(y, v),
            "tnr": sk.recall_score(y, v, pos_label=0),
            "precision": sk.precision_score(y, v),
            "f1": sk.f1_score(y, v),
        }
        counts = [
            np.array([float(c)]) for c in ((y & v).sum(), y.sum(), ((1 - y) & (1 - v)).sum(), (1 - y).sum())
        ]
        ours = {name: score_metric(name, score, labels, row[None])[0] for name in SCORE_METRICS}
        ours |= {name: count_metric(name, *counts)[0] for name in COUNT_METRICS}
        assert ours == pytest.approx(expected, abs=1e-5)


def test_resamples_draw_images_and_not_rows():
    clusters = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(resampled_weights(6, clusters, draws=50)))
    assert len(weights) == 50
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_edges_have_an_answer():
    one, other = np.array([True]), np.array([False])
    assert paired_drop_interval(one, other) == (1, 1)
    assert paired_drop_interval(one, one) == (0, 0)
    assert np.isnan(paired_drop_interval(NO, NO)).all()
    assert mcnemar_p_value(one, other) == 1
    assert mcnemar_p_value(one, other, "greater") == 0.5
    assert mcnemar_p_value(one, one, "greater") == 1
    ones = np.ones(5, dtype=np.int64)
    assert np.isnan(auroc_interval(ones, np.linspace(0, 1, 5, dtype=np.float32))).all()
    tied = np.full(6, 0.5, dtype=np.float32)
    assert auroc_interval(np.array([0, 1] * 3), tied) == (0.5, 0.5)
    assert wilson_interval(1, 1).high == 1
    assert wilson_interval(0, 1).low == 0


def test_ssim_is_scikit_images_and_psnr_too():
    measure = pytest.importorskip("skimage.metrics")
    generator = torch.Generator().manual_seed(7)
    for height, width in ((32, 32), (75, 140), (11, 16), (150, 420)):
        one = torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8, generator=generator)
        one[1] //= 8
        noise = torch.randint(-6, 7, one.shape, generator=generator)
        other = (one.int() + noise).clamp(0, 255).to(torch.uint8)
        l2 = ((one.double() - other.double()) / 255).flatten(1).norm(dim=1)
        for row, (a, b) in enumerate(zip(one.numpy(), other.numpy(), strict=True)):
            expected = measure.structural_similarity(
                a,
                b,
                channel_axis=0,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            assert float(ssim(one, other)[row]) == pytest.approx(expected, abs=1e-5)
            assert float(psnr(l2, a.size)[row]) == pytest.approx(
                measure.peak_signal_noise_ratio(a, b, data_range=255)
            )
    assert torch.isnan(ssim(one[..., :10], other[..., :10])).all()
    assert ssim(one, one).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert torch.isinf(psnr(torch.zeros(1), 12)).all()


def test_ssim_is_that_of_torchmetrics_where_the_window_fits():
    image = pytest.importorskip("torchmetrics.functional.image")
    generator = torch.Generator().manual_seed(3)
    for height, width in ((27, 43), (128, 128), (90, 700)):
        one = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
        one[1] = torch.linspace(0, 255, width)
        other = (one.int() + torch.randint(-9, 10, one.shape, generator=generator)).clamp(0, 255)
        other[:, :, : height // 2] = one[:, :, : height // 2]
        places = image.structural_similarity_index_measure(
            one.double(), other.double(), data_range=255.0, return_full_image=True
        )[1]
        expected = places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
        assert ssim(one, other.to(torch.uint8)).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def records_of(count: int, pipelines: list[Pipeline]) -> pd.DataFrame:
    """Two detectors' records of so many images in each pipeline, at random."""
    rng, label, cells = np.random.default_rng(8), np.arange(count) % 2, []
    for detector, pipeline in product("ab", pipelines):
        score = rng.random(count, dtype=np.float32)
        cells.append(
            pd.DataFrame(
                {
                    "detector": detector,
                    "pipeline": pipeline.name,
                    "sha256": np.arange(count).astype(str),
                    "generator": np.where(label, "g", "real"),
                    "label": label,
                    "score": expit(score - 0.5).astype("float32"),
                    "log_odds": score - 0.5,
                    "correct_clean": True,
                    "correct": (score >= 0.5) == label,
                    "attacked": False,
                    "linf": 0.0,
                    "l2": 0.0,
                    "psnr": 30.0,
                    "ssim": 0.9,
                }
            )
        )
    return pd.concat(cells, ignore_index=True)


def test_the_steps_of_a_table_do_not_grow_with_its_images(tmp_path, monkeypatch):
    """Python calls, counted: none is for one image. Blocks of the bootstrap, which grow, are made one."""
    monkeypatch.setattr(bootstrap, "_BLOCK", 2**62)
    file = tmp_path / "s.yaml"
    file.write_text(
        "version: 1\nname: x\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\n"
        "pipelines: {jpeg: [{perturb: jpeg, quality: [90, 40]}]}\n"
    )
    pipelines = expand_pipelines(load_scenario(file))

    def calls(count: int) -> int:
        records, made = records_of(count, pipelines), 0

        def note(_frame, event, _argument) -> None:
            nonlocal made
            made += event == "call"

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            summary = summarise(records, pipelines, "accuracy")
        finally:
            sys.setprofile(before)
        assert len(summary) == 2 * 2 * 3
        return made

    calls(50)  # What is imported and kept the first time.
    assert calls(1000) - calls(250) < 250
