"""Thresholds on the score that are fitted once on clean validation images and then frozen."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from robustbench_aigen.errors import UserError


def fit_threshold(rule: str, scores: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Choose a threshold on clean validation scores.

    Parameters
    ----------
    rule
        ``youden`` maximises TPR − FPR (Youden 1950); ``fpr@R`` is the lowest threshold whose false-positive
        rate is at most R.
    scores, labels
        N scores in [0, 1] and N labels, both classes present.

    Returns
    -------
    float
        Exactly representable in float32, strictly inside (0, 1).

    Raises
    ------
    UserError
        If so many reals have the highest score there is that no threshold keeps the rate.
    """
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    if rule == "youden":
        index = int(np.argmax(tpr - fpr))
    else:
        index = int(np.flatnonzero(fpr <= float(rule.removeprefix("fpr@")))[-1])
    # roc_curve's thresholds are scores of images. Half-way to the next lower score the verdicts are the same and
    # a difference in the last bit between two machines does not flip them.
    below = thresholds[index + 1] if index + 1 < len(thresholds) else 0.0
    upper = min(float(thresholds[index]), 1.0)
    middle = np.float32((upper + float(below)) / 2)
    tiny = np.finfo(np.float32).eps
    threshold = float(np.clip(middle, tiny, np.float32(1) - tiny))
    if rule != "youden" and (scores[labels == 0] >= threshold).mean() > float(rule.removeprefix("fpr@")):
        share = (scores[labels == 0] >= threshold).mean()
        raise UserError(
            f"threshold '{rule}' cannot be met: {100 * share:.1f} % of the validation reals score 1.0"
        )
    return threshold
