"""Two-class metrics by torchmetrics; *fake* is the positive class."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_f1_score,
    binary_precision,
    binary_recall,
    binary_roc,
    binary_specificity,
)

_NAN = float("nan")
_BINS = 15
"""Of the expected calibration error, as in Guo et al. 2017."""


def rates(verdict: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the metrics of N verdicts; NaN where a class is missing.

    ``tpr``, ``tnr``, ``balanced_accuracy``, ``precision`` and ``f1``. The last two are 0 where no fake is found, by
    torchmetrics' convention.
    """
    has_fake, has_real = bool((labels == 1).any()), bool((labels == 0).any())
    tpr = float(binary_recall(verdict, labels)) if has_fake else _NAN
    tnr = float(binary_specificity(verdict, labels)) if has_real else _NAN
    precision = float(binary_precision(verdict, labels)) if has_fake else _NAN
    f1 = float(binary_f1_score(verdict, labels)) if has_fake else _NAN
    return {"balanced_accuracy": (tpr + tnr) / 2, "tpr": tpr, "tnr": tnr, "precision": precision, "f1": f1}


def ranking(score: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the metrics of N scores; NaN where a class is missing.

    ``auroc``, ``ap``, ``tpr_at_fpr_1`` and ``tpr_at_fpr_5`` (the highest TPR of a threshold with at most 1 % and 5 %
    of the reals called fake), and ``ece``, the expected calibration error over 15 bins (Guo et al. 2017).
    """
    if len(torch.unique(labels)) < 2:
        return dict.fromkeys(("auroc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece"), _NAN)
    # float64, because torchmetrics takes probabilities outside [0, 1] for logits and compares in their precision.
    score = score.double()
    fpr, tpr, _ = binary_roc(score, labels)
    return {
        "auroc": float(binary_auroc(score, labels)),
        "ap": float(binary_average_precision(score, labels)),
        "tpr_at_fpr_1": float(tpr[fpr <= 0.01].max()),
        "tpr_at_fpr_5": float(tpr[fpr <= 0.05].max()),
        "ece": float(binary_calibration_error(score, labels, n_bins=_BINS, norm="l1")),
    }
