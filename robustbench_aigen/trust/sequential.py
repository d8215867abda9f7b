"""Number of images for a second attack: Wald's sequential probability ratio test.

Of the images that withstood an attack, a share falls to a second one. A share that takes at most five points off the
accuracy is no fault of the first attack; half of the images is one that must be found (Wald 1945, Sequential Tests of
Statistical Hypotheses, section 3). Images are asked in looks, each twice as many as the one before.
"""

from collections.abc import Iterator
from math import ceil, log
from typing import NamedTuple

from robustbench_aigen.metrics.tail_tests import binomial_tail
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.text import counted
from robustbench_aigen.trust.flags import Measurement

POINTS = 0.05
"""Largest loss of accuracy by a second attack without a flag."""
SIGNIFICANCE = 0.01
"""Probability of a flag for a sufficient attack, for one cell and second attack."""
MISSED = 0.05
"""The share of attacks of whose survivors half fall to the second attack and that are not flagged."""
_FOUND = 0.5
_FEWEST = 8
PROBED = 32
"""Probe images of a detector, and the most survivors of a cell that are attacked again."""
FIRST_PROBED = 8
"""Probe images on which a detector is tried first: without an unusual answer there, the other probe images are left out."""


class Withstood(NamedTuple):
    """A cell with images that withstood its attack, the input of a check on survivors.

    Parameters
    ----------
    stage
        The attack, L∞ or L2, without a surrogate.
    quick
        Whether the run has quick checks.
    held, held_at_largest
        The share of the attacked images that withstood the attack, and this share at the largest eps of its sweep.
    pipelines
        All pipelines of the run.
    """

    stage: Attack
    quick: bool
    held: float
    held_at_largest: float
    pipelines: tuple[Pipeline, ...]


class NextAttack(NamedTuple):
    """A second attack for images that withstood the first, and its name in a sentence."""

    what: str
    attack: Attack


class SecondAttack(NamedTuple):
    """Plan of a second attack on the images that withstood a first attack.

    Parameters
    ----------
    held
        The share of the attacked images that withstood the attack.
    looks
        Numbers of survivors after which the answer may be clear; the last is the largest number that is attacked.
    """

    held: float
    looks: tuple[int, ...]

    @property
    def may_fall(self) -> float:
        """The share of survivors whose fall takes five points off the accuracy, below 1."""
        return POINTS / self.held

    @property
    def must_be_found(self) -> float:
        """The share of survivors whose fall is to be found: one half, or more where few survived."""
        return max(_FOUND, (1 + self.may_fall) / 2)

    def is_flagged(self, fallen: int, asked: int) -> bool:
        """Whether the second attack clearly takes more than five points off."""
        if asked < self.looks[-1]:
            return self._evidence(fallen, asked) >= log((1 - MISSED) / SIGNIFICANCE)
        return takes_off_clearly(fallen, asked, self.held)

    def is_clear(self, fallen: int, asked: int) -> bool:
        """Whether no more images need to be asked."""
        if asked >= self.looks[-1] or self.is_flagged(fallen, asked):
            return True
        return self._evidence(fallen, asked) <= log(MISSED / (1 - SIGNIFICANCE))

    def _evidence(self, fallen: int, asked: int) -> float:
        """Return the logarithm of the likelihood ratio of what must be found and what may fall."""
        least, most = self.may_fall, self.must_be_found
        return fallen * log(most / least) + (asked - fallen) * log((1 - most) / (1 - least))


def fewest_survivors(held: float) -> int:
    """Return the number of survivors that shows an attack to be sufficient, if no survivor falls.

    >>> fewest_survivors(1.0), fewest_survivors(0.2)
    (5, 7)
    """
    test = SecondAttack(held, (0,))
    ratio = log((1 - test.must_be_found) / (1 - test.may_fall))
    return ceil(log(MISSED / (1 - SIGNIFICANCE)) / ratio)


def sequential(held: float, first: int, most: int) -> SecondAttack:
    """Return the looks of a second attack: ``first`` survivors, then twice as many each time, ``most`` in all."""
    return SecondAttack(held, (*_doubled(max(first, fewest_survivors(held)), most), most))


def _doubled(first: int, below: int) -> Iterator[int]:
    while first < below:
        yield first
        first *= 2


def takes_off_clearly(fallen: int, count: int, held: float) -> bool:
    """Whether a second attack takes clearly more than five points off what a first one has left.

    Of a random ``count`` of the images that withstood the first, ``fallen`` fell to the second; ``held`` is the share
    that withstood. Exact one-sided binomial test of "five points at most", p < 0.01.

    >>> takes_off_clearly(5, 32, 1.0), takes_off_clearly(6, 32, 1.0)
    (False, True)
    """
    return held > POINTS and bool(binomial_tail(fallen, count, POINTS / held) < SIGNIFICANCE)


def judge_second(what: str, fallen: int, asked: int, test: SecondAttack) -> Measurement:
    """Judge the effect of a second attack on images that withstood the attack of a cell.

    The flag is raised if the second attack lowers the accuracy by clearly more than five points. PGD-10 is never fully
    converged: on the shipped detectors, five times the steps lower the accuracy by up to 4.4 points, and Square by
    nothing.

    Parameters
    ----------
    what
        The second attack in words.
    fallen, asked
        Number of fooled survivors, and number of attacked survivors.
    test
        The sequential test with its looks.
    """
    return Measurement(
        test.is_flagged(fallen, asked),
        f"{what} turn {fallen} of {counted(asked, 'image')} that withstood the attack, "
        f"about {100 * test.held * fallen / asked:.0f} points of the {100 * test.held:.0f} left",
    )


def survivors_to_probe(survivors: int, attacked: int) -> int:
    """Return the number of survivors to attack again; 0 if no outcome could raise a flag.

    As many as 32 attacked images have on average, and at least 8.

    >>> survivors_to_probe(900, 1000), survivors_to_probe(200, 1000), survivors_to_probe(80, 1000)
    (29, 8, 0)
    """
    if survivors == 0:
        return 0
    held = survivors / attacked
    count = min(survivors, max(_FEWEST, ceil(PROBED * held)))
    return count if takes_off_clearly(count, count, held) else 0
