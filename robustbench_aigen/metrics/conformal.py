"""The unsure band: verdicts with a promised share of right answers, by conformal prediction."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.errors import UserError

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class UnsureBand:
    """Limits of the log-odds between which a detector gives no verdict.

    Split conformal prediction with a limit for each class (Vovk 2012, arXiv:1209.2673, section 4; Sadinle et al. 2019,
    arXiv:1609.00451). An image keeps the class *fake* if its log-odds are at least ``fake``, and the class *real* if
    they are at most ``real``. The verdict is sure if one class is kept. Of new images of a class that are
    exchangeable with its validation images, at least ``1 − level`` keep their class.

    Parameters
    ----------
    level
        Promised largest share of images of each class that lose their class.
    fake, real
        The limits, log-odds of *fake* in nats.
    fakes, reals
        Validation images of each class.
    """

    level: float
    fake: float
    real: float
    fakes: int
    reals: int

    def kept(self, log_odds: NDArray[np.floating]) -> tuple[Flags, Flags]:
        """Return whether each of N images keeps the class *real*, and whether it keeps *fake*."""
        return log_odds <= self.real, log_odds >= self.fake


class Coverage(NamedTuple):
    """The verdicts of a band on some images of one class.

    ``covered`` keep their class; ``wrong`` keep the other class alone; ``unsure`` keep both classes or neither.
    ``p_value`` is the probability of as few covered images among exchangeable ones.
    """

    images: int
    covered: int
    wrong: int
    unsure: int
    p_value: float


def fit_band(log_odds: NDArray[np.floating], labels: NDArray[np.integer], level: float) -> UnsureBand:
    """Return the band of clean validation images.

    Parameters
    ----------
    log_odds, labels
        N log-odds of *fake* in nats, and N labels: 0 real, 1 fake.
    level
        Largest share of images of each class that may lose their class.

    Raises
    ------
    UserError
        If a class has fewer than ``1 / level − 1`` images.
    """
    fakes, reals = np.sort(log_odds[labels == 1]), np.sort(-log_odds[labels == 0])
    for name, scores in (("AI-generated", fakes), ("real", reals)):
        if _lost(len(scores), level) < 1:
            raise UserError(
                f"unsure: {level:g} needs at least {math.ceil(1 / level) - 1} {name} images in the validation split, "
                f"which has {len(scores)}",
                hint="a larger 'unsure' needs fewer images",
            )
    return UnsureBand(
        level,
        float(fakes[_lost(len(fakes), level) - 1]),
        float(-reals[_lost(len(reals), level) - 1]),
        len(fakes),
        len(reals),
    )


def _lost(images: int, level: float) -> int:
    """Return the rank of the limit among the validation images of a class: exchangeable images fall below it with probability rank / (images + 1)."""
    return math.floor(level * (images + 1) + 1e-9)


def coverage(band: UnsureBand, log_odds: NDArray[np.floating], label: int) -> Coverage:
    """Return the verdicts of a band on N images of one class, with N log-odds.

    The number of exchangeable images that keep their class is beta-binomial, over validation and tested images
    together (Vovk 2012, section 3).
    """
    from scipy.stats import betabinom  # Slow to import, and a run without a band does not need it.

    real, fake = band.kept(log_odds)
    own, other = (fake, real) if label else (real, fake)
    held = band.fakes if label else band.reals
    rank = _lost(held, band.level)
    covered, images = int(own.sum()), len(log_odds)
    p_value = float(betabinom.cdf(covered, images, held + 1 - rank, rank)) if images else math.nan
    return Coverage(images, covered, int((other & ~own).sum()), int((own == other).sum()), p_value)
