"""Thresholds on the score: given as a number, or fitted once on clean validation images and then frozen."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.curves import roc_curve
from robustbench_aigen.scenario.scenario import read_threshold


@dataclass(frozen=True)
class Threshold:
    """Threshold of the verdict *fake*.

    Verdicts compare log-odds: above 17 nats every float32 score is 1.0, and scores cannot rank images.

    Parameters
    ----------
    log_odds
        The threshold on the log-odds of *fake*, in nats; exactly representable in float32 unless the scores are float64.
    score
        The same as a probability, for people; 1.0 or 0.0 where float64 holds nothing nearer.
    """

    log_odds: float
    score: float

    @classmethod
    def at(cls, score: float) -> "Threshold":
        """Return the threshold at a score in (0, 1)."""
        return cls(float(np.float32(math.log(score) - math.log1p(-score))), float(np.float32(score)))

    @classmethod
    def at_log_odds(cls, log_odds: float) -> "Threshold":
        """Return the threshold at log-odds in nats."""
        exact = float(np.float32(log_odds))
        return cls(exact, _chance(exact))


def _chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


HALF = Threshold(0.0, 0.5)
"""The more probable class is the verdict."""


def as_threshold(given: object) -> Threshold | str:
    """Return a threshold of what a caller gives: a score between 0 and 1 or a threshold, or a rule as it is.

    Raises
    ------
    UserError
        If the value has another form.
    """
    if isinstance(given, Threshold):
        return given
    plain = given.item() if isinstance(given, np.number | np.ndarray) and np.ndim(given) == 0 else given
    try:
        read = read_threshold(plain)
    except ValueError as error:
        raise UserError(f"threshold {error}") from error
    return read if isinstance(read, str) else Threshold.at(read)


def both_classes(labels: NDArray[np.integer], rule: str) -> NDArray[np.integer]:
    """Return the labels that a rule is fitted on.

    Raises
    ------
    UserError
        If they are not of both classes.
    """
    found = {*labels.tolist()}
    if len(found) < 2:
        only = "there are no labels" if not found else f"all labels are {'fake' if 1 in found else 'real'}"
        raise UserError(f"threshold '{rule}' is fitted on images of both classes; {only}")
    return labels


def fit_threshold(
    rule: str, log_odds: NDArray[np.floating], labels: NDArray[np.integer], *, is_double: bool = False
) -> Threshold:
    """Choose a threshold on clean validation images.

    Parameters
    ----------
    rule
        ``youden`` maximises TPR − FPR (Youden 1950); ``fpr@R`` is the lowest threshold whose false-positive
        rate is at most R.
    log_odds, labels
        N finite log-odds of *fake* and N labels, both classes present.
    is_double
        Whether verdicts compare log-odds in float64, as those of imported scores do, and not in float32.

    Raises
    ------
    UserError
        If too many reals have the highest log-odds, so that every allowed threshold calls no image fake.
    """
    fpr, tpr, candidates = roc_curve(labels, log_odds)
    rate = None if rule == "youden" else float(rule.removeprefix("fpr@"))
    index = int(np.argmax(tpr - fpr)) if rate is None else int(np.flatnonzero(fpr <= rate)[-1])
    if rate is not None and index == 0:
        share = float((log_odds[labels == 0] >= log_odds.max()).mean())
        raise UserError(
            f"threshold '{rule}' cannot be met: {100 * share:.1f} % of the validation reals have the highest score of all"
        )
    # Candidates are log-odds of images below the first, which is infinite. Just below its image, a threshold gives the
    # same verdicts, and a difference in the last bit between two machines does not flip them.
    upper = float(candidates[index]) if index else float(log_odds.max()) + 1
    below = float(candidates[index + 1]) if index + 1 < len(candidates) else upper - 1
    limit = upper - min((upper - below) / 2, _BELOW * max(1.0, abs(upper)))
    if not is_double:
        return Threshold.at_log_odds(limit)
    # Neighbouring numbers have no number between them.
    limit = limit if limit > below else upper
    return Threshold(limit, _chance(limit))


_BELOW = 1e-6
"""Distance of a fitted threshold below its image, in nats, or as a share of the image's log-odds from one nat on."""
