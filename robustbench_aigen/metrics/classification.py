"""Built-in metrics of one sample of images; *fake* is the positive class."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from robustbench_aigen.metrics.builtin import of_scores, of_verdicts

_OF_VERDICTS = (
    of_verdicts.accuracy, of_verdicts.balanced_accuracy, of_verdicts.tpr, of_verdicts.tnr, of_verdicts.precision,
    of_verdicts.f1,
)  # fmt: skip
_OF_LOG_ODDS = (of_scores.auroc, of_scores.ap, of_scores.tpr_at_fpr_1, of_scores.tpr_at_fpr_5)


def rates(verdict: NDArray[np.integer], labels: NDArray[np.integer]) -> dict[str, float]:
    """Return the built-in metrics of N verdicts by name; NaN where a class is missing."""
    return {function.__name__: function(verdict, labels) for function in _OF_VERDICTS}


def ranking(
    log_odds: NDArray[np.floating], labels: NDArray[np.integer], scores: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """Return the built-in metrics of N log-odds of *fake* by name; NaN where a class is missing.

    ``scores`` are the N probabilities where they are known more exactly than by their log-odds.
    """
    of_log_odds = {function.__name__: function(log_odds, labels) for function in _OF_LOG_ODDS}
    scores = expit(log_odds.astype(np.float64)) if scores is None else scores
    return {**of_log_odds, "ece": of_scores.ece(scores, labels)}
