"""Evaluation of a trained detector on labelled images, under the conditions of its deployment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import confusion_matrix, roc_curve

from robustbench_aigen.data.samples import ImageSource, Sample, belongs_to
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.engine.sizes import nearby_sizes, padded
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.training.images import selection_of

ONE_CLASS_SHARE = 0.99


@dataclass(frozen=True)
class Scored:
    """N images with their log-odds of *fake*."""

    samples: list[Sample]
    log_odds: NDArray[np.float32]

    @property
    def labels(self) -> NDArray[np.int64]:
        """N labels."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)


def score_images(
    detector: Detector,
    source: ImageSource,
    indices: Sequence[int],
    device: torch.device,
    progress: Progress,
    split: str,
) -> Scored:
    """Score images at their native size, in float32, the resize inside the detector."""
    progress.start(len(indices))
    progress.work_on(detector.name, f"scoring the {split} images")
    samples: list[Sample] = []
    log_odds: list[NDArray[np.float32]] = []
    for shard in make_shards(selection_of(source, indices, split)):
        images = decode_shard(shard)
        found = np.zeros(len(images.samples), dtype=np.float32)
        for rows in nearby_sizes(images.levels, range(len(images.levels))):
            levels, sizes = padded([images.levels[row] for row in rows])
            found[rows] = predict(detector, levels, 64, device, sizes).numpy()
        samples += images.samples
        log_odds.append(found)
        progress.advance(len(shard.indices))
    return Scored(samples, np.concatenate(log_odds) if log_odds else np.zeros(0, dtype=np.float32))


def figures(scored: Scored, threshold: Threshold) -> dict[str, Any]:
    """Return the figures of scored images at a threshold.

    Loss (cross-entropy), accuracy, precision, recall (TPR), TNR, F1, AUROC, average precision, confusion matrix
    (rows: real, fake; columns: called real, called fake), and whether 99 % of the verdicts are one class.
    """
    log_odds, labels = scored.log_odds, scored.labels
    verdict = verdicts(torch.from_numpy(log_odds), threshold).numpy()
    both = len(np.unique(labels)) == 2
    called_fake = float(verdict.mean())
    of_verdicts = rates(verdict, labels)
    found: dict[str, Any] = {
        "n": len(labels),
        "threshold": threshold.score,
        "threshold_log_odds": threshold.log_odds,
        "loss": float(np.logaddexp(0, (1 - 2 * labels) * log_odds.astype(float)).mean()),
        "accuracy": of_verdicts["accuracy"],
        "balanced_accuracy": of_verdicts["balanced_accuracy"],
        "precision": of_verdicts["precision"],
        "recall": of_verdicts["tpr"],
        "f1": of_verdicts["f1"],
        "tpr": of_verdicts["tpr"],
        "tnr": of_verdicts["tnr"],
        **ranking(log_odds, labels),
        "confusion_matrix": confusion_matrix(labels, verdict, labels=(0, 1)).tolist(),
        "answers_one_class": both and not 1 - ONE_CLASS_SHARE < called_fake < ONE_CLASS_SHARE,
    }
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}


def tpr_by_generator(scored: Scored, threshold: Threshold) -> dict[str, float]:
    """Return the share of each generator's fakes that are judged fake."""
    generators = np.array([sample.generator for sample in scored.samples])
    fake = scored.labels == 1
    return {
        str(name): round(
            float((scored.log_odds[fake & (generators == name)] >= threshold.log_odds).mean()), 6
        )
        for name in sorted({*generators[fake]})
    }


def of_generators(scored: Scored, names: Sequence[str]) -> Scored:
    """Return the fakes of some generators and the reals they belong to."""
    samples = scored.samples
    kept = belongs_to([s.label for s in samples], [s.generator for s in samples], names)
    rows = np.flatnonzero(kept)
    return Scored([scored.samples[row] for row in rows], scored.log_odds[rows])


def roc_points(scored: Scored) -> pd.DataFrame:
    """Return all points of the ROC curve: ``fpr``, ``tpr``, ``threshold``, ``threshold_log_odds``; the first log-odds are infinite."""
    fpr, tpr, log_odds = roc_curve(scored.labels, scored.log_odds, drop_intermediate=False)
    return pd.DataFrame(
        {"fpr": fpr, "tpr": tpr, "threshold": expit(log_odds), "threshold_log_odds": log_odds}
    )
