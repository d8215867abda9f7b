"""Ranks of detectors on the same images, with ties where a paired test cannot distinguish them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.metrics.paired import holm, mcnemar_p_values

LEVEL = 0.05
"""Level of the tests of one ranking, after Holm's correction over all pairs."""


class RankRange(NamedTuple):
    """The ranks that a detector can have: best and worst, from 1."""

    best: int
    worst: int


def ranks(right: NDArray[np.bool_]) -> list[RankRange]:
    """Rank E detectors on the same N images.

    The best rank is one more than the number of detectors that are significantly better; the worst rank is E minus the
    number of detectors that are significantly worse. Two detectors differ significantly by the exact McNemar test at
    level 0.05, with Holm's correction over all pairs.

    Parameters
    ----------
    right
        E×N verdicts, whether each was right.
    """
    count = len(right)
    values = right.astype(np.float64)
    # Only detector i is right, on this many images: products of matrices, because there can be 100,000 pairs.
    alone = np.rint(values @ (1 - values).T)
    above = np.triu_indices(count, 1)
    differs = np.zeros((count, count), bool)
    differs[above] = holm(mcnemar_p_values(alone[above], alone.T[above])) < LEVEL
    differs |= differs.T
    better = differs & (alone > alone.T)
    return [
        RankRange(1 + int(better[:, place].sum()), count - int(better[place].sum())) for place in range(count)
    ]
