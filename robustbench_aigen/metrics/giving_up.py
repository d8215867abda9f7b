"""The price of giving up: how many images that ``auto`` has given up on could fall to all of its parts.

``auto`` gives up on most images that withstood its first parts; a random sample of these images gets every part. The
share of the sample that falls bounds how many of the others would.
"""

from typing import NamedTuple

import pandas as pd
from scipy.special import betaincinv

from robustbench_aigen.stages.found_by import GIVEN_UP, SAMPLED, WITHSTOOD
from robustbench_aigen.text import counted

CONFIDENCE = 0.95
"""Confidence of the bound, one-sided."""


class PriceOfGivingUp(NamedTuple):
    """Counts of one cell.

    Parameters
    ----------
    attacked, withstood
        Images that were attacked, and those of them that are still judged right.
    given_up
        Images that not every part was tried on.
    sampled, fell
        Images of the random sample that withstood the first parts, and how many fell to a later part.
    """

    attacked: int
    withstood: int
    given_up: int
    sampled: int
    fell: int

    @property
    def expected(self) -> float:
        """How many images given up on would fall, as the sample says; NaN without a sample."""
        return self.given_up * self.fell / self.sampled if self.sampled else float("nan")

    @property
    def most(self) -> int:
        """How many of the images given up on would fall at most: the exact one-sided 95 % bound of the binomial.

        Clopper and Pearson 1934, The Use of Confidence or Fiducial Limits. All of them without a sample.
        """
        if self.fell >= self.sampled:
            return self.given_up
        share = float(betaincinv(self.fell + 1, self.sampled - self.fell, CONFIDENCE))
        return int(self.given_up * share)


def price_of_giving_up(cell: pd.DataFrame) -> PriceOfGivingUp | None:
    """Return the price of giving up from the records of a cell; None where nothing was given up.

    Parameters
    ----------
    cell
        Records with ``attacked``, ``correct`` and ``found_by``.
    """
    if "found_by" not in cell:  # Scores of other programs.
        return None
    attacked = cell[cell["attacked"]]
    found_by = attacked["found_by"].astype(str)
    given_up = int((found_by == GIVEN_UP).sum())
    if not given_up:
        return None
    fell = int(found_by.str.endswith(SAMPLED).sum())
    sampled = fell + int((found_by == WITHSTOOD).sum())
    return PriceOfGivingUp(len(attacked), int(attacked["correct"].sum()), given_up, sampled, fell)


def largest_price(records: pd.DataFrame) -> str:
    """Return a sentence on the cell of a detector whose images given up on could cost most; empty without any.

    Parameters
    ----------
    records
        All records of one detector.
    """
    priced = [
        (price, str(pipeline))
        for pipeline, cell in records.groupby("pipeline", sort=False, observed=True)
        if (price := price_of_giving_up(cell)) is not None
    ]
    if not priced:
        return ""
    price, pipeline = max(priced, key=lambda each: each[0].most / each[0].attacked)
    return (
        f"auto gave up on {counted(price.given_up, 'image')} of {price.attacked} under {pipeline}; by {price.sampled} sampled, "
        f"at most {price.most} of them could fall (95 %): {100 * price.most / price.attacked:.1f} points; effort: exhaustive "
        "attacks all"
    )
