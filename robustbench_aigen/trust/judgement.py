"""From what the probes measured to flags: thresholds, and the sentences that say by how much.

The thresholds keep ordinary detectors free of flags: see each function for what such a detector shows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binom

from robustbench_aigen.trust.findings import (
    BLACK_BOX,
    SATURATED,
    STILL_RISING,
    UNBOUNDED,
    UNINFORMATIVE,
    ZERO_GRADIENTS,
    Finding,
)

_SATURATED = 40.0
"""Nats beyond which the squares of the gradient of the cross-entropy (e⁻⁴⁰) leave float32, and with them its norm."""
_POINTS = 0.05
_SIGNIFICANCE = 0.01
PROBED = 32
"""Probe images of a detector, and the most survivors of a cell that are attacked again."""
_FEWEST = 8


class Measurement(NamedTuple):
    """What a probe found: its flag, whether that is raised, and a sentence."""

    flag: str
    raised: bool
    evidence: str


def judge_detector(answers: pd.DataFrame) -> Iterator[Measurement]:
    """Judge the answers of a detector's probe images.

    Parameters
    ----------
    answers
        A row per image: ``zero_gradient, not_finite, informed, held_unbounded`` (booleans), ``margin`` (nats).
    """
    count = len(answers)
    zero, not_finite = answers["zero_gradient"].mean(), int(answers["not_finite"].sum())
    # Dead units leave single images without a gradient; none of the shipped detectors has one, and none a NaN.
    told = f"{100 * zero:.0f} % of {count} probe images have a gradient of zero or not finite"
    yield _measured(
        ZERO_GRADIENTS,
        zero >= 0.1 or not_finite > 0,
        f"{told} ({not_finite} NaN or infinite)" if not_finite else told,
    )
    informed = answers["informed"].mean()
    # Half by chance, 100 % for an ordinary detector: 24 of 32 come up by chance in 0.4 % of cases.
    yield _measured(
        UNINFORMATIVE,
        informed < 0.75,
        f"a step along the gradient beats a random one for {100 * informed:.0f} % of {count} probe images "
        "(50 % by chance)",
    )
    margin = answers["margin"].median()
    yield _measured(
        SATURATED,
        margin > _SATURATED,
        f"the median margin of {count} probe images is {margin:.3g} nats (more than {_SATURATED:.0f} is saturated)",
    )
    held = answers["held_unbounded"]
    yield _measured(
        UNBOUNDED,
        held.sum() >= 2 and held.mean() >= _POINTS,
        f"50 steps of PGD with an L∞ budget of 0.5 leave {100 * held.mean():.0f} % of {count} probe images",
    )


def judge_cell(answers: pd.DataFrame, held: float) -> Iterator[Measurement]:
    """Judge what a second attack did to images that withstood the attack of a cell.

    Flagged where it takes clearly more than five points off the accuracy. PGD-10 is never quite converged: on the
    shipped detectors five times its steps take off up to 4.4 points, and Square none.

    Parameters
    ----------
    answers
        A row per image: ``more_steps`` (where the attack has steps) and ``black_box``, whether it fell.
    held
        Share of the attacked images that withstood the attack of the cell.
    """
    count = len(answers)
    for column, finding, what in (
        ("more_steps", STILL_RISING, "five times the steps"),
        ("black_box", BLACK_BOX, "250 queries of Square, without gradients,"),
    ):
        if column in answers:
            fallen = answers[column].astype(bool)
            yield _measured(
                finding,
                takes_off_clearly(int(fallen.sum()), count, held),
                f"{what} turn {fallen.sum()} of {count} images that withstood the attack, "
                f"about {100 * held * fallen.mean():.0f} points of the {100 * held:.0f} left",
            )


def takes_off_clearly(fallen: int, count: int, held: float) -> bool:
    """Whether a second attack takes clearly more than five points off what a first one has left.

    Of a random ``count`` of the images that withstood the first, ``fallen`` fell to the second; ``held`` is the share
    that withstood. Exact one-sided binomial test of "five points at most", p < 0.01.

    >>> takes_off_clearly(5, 32, 1.0), takes_off_clearly(6, 32, 1.0)
    (False, True)
    """
    return held > _POINTS and bool(binom.sf(fallen - 1, count, _POINTS / held) < _SIGNIFICANCE)


def survivors_to_probe(survivors: int, attacked: int) -> int:
    """Return how many of the images that withstood an attack to attack again: none where no outcome could be a flag.

    As many as 32 attacked images have on average, and at least 8.

    >>> survivors_to_probe(900, 1000), survivors_to_probe(200, 1000), survivors_to_probe(80, 1000)
    (29, 8, 0)
    """
    if survivors == 0:
        return 0
    held = survivors / attacked
    count = min(survivors, max(_FEWEST, int(np.ceil(PROBED * held))))
    return count if takes_off_clearly(count, count, held) else 0


def _measured(finding: Finding, raised: bool | np.bool_, evidence: str) -> Measurement:
    return Measurement(finding.flag, bool(raised), evidence)
