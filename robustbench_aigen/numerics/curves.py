"""ROC and precision-recall curves of scores.

The points and areas are scikit-learn's, bit for bit: importing scikit-learn takes longer than most commands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Roc(NamedTuple):
    """A receiver operating characteristic: T + 1 false-positive and true-positive rates, from the highest threshold on.

    The first threshold is infinite: no image is called positive.
    """

    fpr: Floats
    tpr: Floats
    thresholds: Floats


class PrecisionRecall(NamedTuple):
    """A precision-recall curve: T + 1 points, the recall falling from 1 to 0."""

    precision: Floats
    recall: Floats


def roc_curve(
    labels: NDArray[np.integer], scores: NDArray[np.floating], *, drop_intermediate: bool = False
) -> Roc:
    """Return the ROC curve of N finite scores, higher for label 1; both labels occur.

    Parameters
    ----------
    labels, scores
        N each.
    drop_intermediate
        Whether to leave out points on the line between their neighbours, which a drawing does not need.
    """
    found, wrong, thresholds = _counts(labels, scores)
    if drop_intermediate and len(found) > 2:
        corner = (np.diff(found, 2) != 0) | (np.diff(wrong, 2) != 0)
        kept = np.concatenate([[True], corner, [True]])
        found, wrong, thresholds = found[kept], wrong[kept], thresholds[kept]
    return Roc(
        np.append(0.0, wrong) / wrong[-1],
        np.append(0.0, found) / found[-1],
        np.append(np.inf, thresholds),
    )


def precision_recall_curve(
    labels: NDArray[np.integer], scores: NDArray[np.floating], *, drop_intermediate: bool = False
) -> PrecisionRecall:
    """Return the precision-recall curve of N finite scores, higher for label 1; label 1 occurs.

    Parameters
    ----------
    labels, scores
        N each.
    drop_intermediate
        Whether to leave out points between others of the same recall, which a drawing does not need.
    """
    found, wrong, _ = _counts(labels, scores)
    if drop_intermediate and len(found) > 2:
        moves = np.diff(found) != 0
        kept = np.concatenate([[True], moves[:-1] | moves[1:], [True]])
        found, wrong = found[kept], wrong[kept]
    return PrecisionRecall(
        np.append((found / (found + wrong))[::-1], 1.0), np.append((found / found[-1])[::-1], 0.0)
    )


def area_under(roc: Roc) -> float:
    """Return the area under a ROC curve."""
    return float(np.trapezoid(roc.tpr, roc.fpr))


def average_precision(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> float:
    """Return the average precision of N finite scores: precisions weighted by the recall that each adds."""
    curve = precision_recall_curve(labels, scores)
    return float(max(0.0, -np.sum(np.diff(curve.recall) * curve.precision[:-1])))


def _counts(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> tuple[Floats, Floats, Floats]:
    """Return the true and false positives at every distinct score, the highest first, and these scores."""
    if not np.isfinite(scores).all():
        raise ValueError("a score is NaN or infinite")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    # Images with equal scores enter together.
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    found = np.cumsum(labels[order] == 1, dtype=np.float64)[ends]
    return found, 1.0 + ends - found, ordered[ends].astype(np.float64)
