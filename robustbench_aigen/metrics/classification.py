"""Two-class metrics by torchmetrics; *fake* is the positive class."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_f1_score,
    binary_recall,
    binary_specificity,
)


def rates(verdict: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``tpr``, ``tnr``, ``balanced_accuracy`` and ``f1`` of N verdicts; NaN where a class is missing.

    F1 is 0 where no fake is found, by torchmetrics' convention.
    """
    has_fake, has_real = bool((labels == 1).any()), bool((labels == 0).any())
    tpr = float(binary_recall(verdict, labels)) if has_fake else float("nan")
    tnr = float(binary_specificity(verdict, labels)) if has_real else float("nan")
    f1 = float(binary_f1_score(verdict, labels)) if has_fake else float("nan")
    return {"balanced_accuracy": (tpr + tnr) / 2, "tpr": tpr, "tnr": tnr, "f1": f1}


def ranking(score: Tensor, labels: Tensor) -> dict[str, float]:
    """Return ``auroc`` and ``ap`` of N scores; NaN where a class is missing."""
    if len(torch.unique(labels)) < 2:
        return {"auroc": float("nan"), "ap": float("nan")}
    # float64, because torchmetrics takes probabilities outside [0, 1] for logits and compares in their precision.
    score = score.double()
    return {"auroc": float(binary_auroc(score, labels)), "ap": float(binary_average_precision(score, labels))}
