"""From what the probes measured to flags: thresholds, and the sentences that say by how much.

The thresholds keep ordinary detectors free of flags: see each function for what such a detector shows.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from robustbench_aigen.text import counted
from robustbench_aigen.trust.flags import (
    SATURATED,
    UNBOUNDED,
    UNINFORMATIVE,
    ZERO_GRADIENTS,
    Finding,
)
from robustbench_aigen.trust.sequential import SecondAttack, takes_off_clearly

_SATURATED = 40.0
"""Nats beyond which the squares of the gradient of the cross-entropy (e⁻⁴⁰) leave float32, and with them its norm."""
_UNBOUNDED_SHARE = 0.05
PROBED = 32
"""Probe images of a detector, and the most survivors of a cell that are attacked again."""
FIRST_PROBED = 8
"""Probe images on which a detector is tried first: where nothing speaks against it there, it is not tried on more."""
_FEWEST = 8


class Measurement(NamedTuple):
    """What a probe found: its flag, whether that is raised, and a sentence."""

    flag: str
    raised: bool
    evidence: str


def judge_gradients(answers: pd.DataFrame) -> Iterator[Measurement]:
    """Judge the input gradients of a detector's probe images.

    Parameters
    ----------
    answers
        A row per image: ``zero_gradient, not_finite`` (booleans), ``margin`` (nats).
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
    margin = answers["margin"].median()
    yield _measured(
        SATURATED,
        margin > _SATURATED,
        f"the median margin of {count} probe images is {margin:.3g} nats (more than {_SATURATED:.0f} is saturated)",
    )


def judge_steps(informed: "pd.Series[bool]") -> Measurement:
    """Judge whether a step along the gradient beats a random one, of one probe image each."""
    share, count = informed.mean(), len(informed)
    # Half by chance, 100 % for an ordinary detector: 24 of 32 come up by chance in 0.4 % of cases, 8 of 8 too.
    return _measured(
        UNINFORMATIVE,
        share < 0.75,
        f"a step along the gradient beats a random one for {100 * share:.0f} % of {count} probe images "
        "(50 % by chance)",
    )


def judge_unbounded(held: "pd.Series[bool]", known: int) -> Measurement:
    """Judge which probe images withstood the unbounded attack.

    Parameters
    ----------
    held
        Of one probe image each.
    known
        How many of them an attack of the run had fooled within that budget.
    """
    of_run = f" ({known} of them fell to an attack of the run)" if known else ""
    return _measured(
        UNBOUNDED,
        held.sum() >= 2 and held.mean() >= _UNBOUNDED_SHARE,
        f"50 steps of PGD with an L∞ budget of 0.5 leave {100 * held.mean():.0f} % of {len(held)} probe images{of_run}",
    )


def judge_second(finding: Finding, what: str, fallen: int, asked: int, test: SecondAttack) -> Measurement:
    """Judge what a second attack did to images that withstood the attack of a cell.

    Flagged where it takes clearly more than five points off the accuracy. PGD-10 is never quite converged: on the
    shipped detectors five times its steps take off up to 4.4 points, and Square none.

    Parameters
    ----------
    finding
        Its flag.
    what
        The second attack in words.
    fallen, asked
        How many of how many survivors fell to it.
    test
        The looks that were taken.
    """
    return _measured(
        finding,
        test.is_flagged(fallen, asked),
        f"{what} turn {fallen} of {counted(asked, 'image')} that withstood the attack, "
        f"about {100 * test.held * fallen / asked:.0f} points of the {100 * test.held:.0f} left",
    )


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
