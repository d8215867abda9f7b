"""What a trained detector comes to on labelled images, judged as it will be deployed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    binary_confusion_matrix,
    binary_precision,
    binary_roc,
)

from robustbench_aigen.data.samples import REAL_POOL, ImageSource, Sample
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.shards import decode_shard, make_shards
from robustbench_aigen.engine.sizes import nearby_sizes, padded
from robustbench_aigen.metrics.classification import ranking, rates
from robustbench_aigen.training.images import selection_of

ONE_CLASS_SHARE = 0.99


@dataclass(frozen=True)
class Scored:
    """N images with their scores."""

    samples: list[Sample]
    scores: NDArray[np.float32]

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
    scores: list[NDArray[np.float32]] = []
    for shard in make_shards(selection_of(source, indices, split)):
        images = decode_shard(shard)
        found = np.zeros(len(images.samples), dtype=np.float32)
        for rows in nearby_sizes(images.levels, range(len(images.levels))):
            levels, sizes = padded([images.levels[row] for row in rows])
            found[rows] = predict(detector, levels, 64, device, sizes).numpy()
        samples += images.samples
        scores.append(found)
        progress.advance(len(shard.indices))
    return Scored(samples, np.concatenate(scores) if scores else np.zeros(0, dtype=np.float32))


def figures(scored: Scored, threshold: float) -> dict[str, Any]:
    """Return the figures of scored images at a threshold.

    Loss (cross-entropy), accuracy, precision, recall (TPR), TNR, F1, AUROC, average precision, confusion matrix
    (rows: real, fake; columns: called real, called fake), and whether 99 % of the verdicts are one class.
    """
    score, labels = torch.from_numpy(scored.scores), torch.from_numpy(scored.labels)
    verdict = verdicts(score, threshold)
    both = len(labels.unique()) == 2
    called_fake = float(verdict.double().mean())
    tpr_tnr = rates(verdict, labels)
    found: dict[str, Any] = {
        "n": len(labels),
        "threshold": threshold,
        "loss": float(
            functional.binary_cross_entropy(score.double().clamp(1e-12, 1 - 1e-12), labels.double())
        ),
        "accuracy": float((verdict == labels).double().mean()),
        "balanced_accuracy": tpr_tnr["balanced_accuracy"],
        "precision": float(binary_precision(verdict, labels)),
        "recall": tpr_tnr["tpr"],
        "f1": tpr_tnr["f1"],
        "tpr": tpr_tnr["tpr"],
        "tnr": tpr_tnr["tnr"],
        **ranking(score, labels),
        "confusion_matrix": binary_confusion_matrix(verdict, labels).tolist(),
        "answers_one_class": both and not 1 - ONE_CLASS_SHARE < called_fake < ONE_CLASS_SHARE,
    }
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}


def tpr_by_generator(scored: Scored, threshold: float) -> dict[str, float]:
    """Return the share of each generator's fakes that is found."""
    generators = np.array([sample.generator for sample in scored.samples])
    fake = scored.labels == 1
    return {
        str(name): round(float((scored.scores[fake & (generators == name)] >= threshold).mean()), 6)
        for name in sorted({*generators[fake]})
    }


def of_generators(scored: Scored, names: Sequence[str]) -> Scored:
    """Return the fakes of some generators and the reals they belong to."""
    kept = {*names}
    rows = [
        row
        for row, sample in enumerate(scored.samples)
        if sample.generator in (kept if sample.label else {*kept, REAL_POOL})
    ]
    return Scored([scored.samples[row] for row in rows], scored.scores[rows])


def roc_points(scored: Scored) -> tuple[Tensor, Tensor, Tensor]:
    """Return false-positive rates, true-positive rates and thresholds of the ROC curve, all of its points."""
    # float64, because torchmetrics takes probabilities outside [0, 1] for logits and compares in their precision.
    score = torch.from_numpy(scored.scores).double()
    fpr, tpr, thresholds = binary_roc(score, torch.from_numpy(scored.labels))
    return fpr, tpr, thresholds
