"""Checks on the records of a cell: verdicts, rounding, budgets, and the JPEG quality of the source images."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.metrics.giving_up import price_of_giving_up
from robustbench_aigen.metrics.tail_tests import mann_whitney_less
from robustbench_aigen.stages.stage import Stage
from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import check
from robustbench_aigen.trust.flags import ONE_CLASS
from robustbench_aigen.trust.records import CellRecords
from robustbench_aigen.trust.stored_quality import ends_at_quality

_ONE_CLASS_SHARE = 0.99
_ROUNDING_LOSS = 0.02
_POINT = 0.01
_BELOW_CHANCE = 0.01
_FAR_BELOW, _FAR_BELOW_CHANCE = 0.25, 0.05
_COUNTED = 60
"""Up to as many images, every assignment of the classes to them is counted."""


@check(
    ONE_CLASS,
    meaning="the detector gives nearly every image the same verdict; its accuracy is the class balance",
    when="at least 99 % of the clean verdicts are one class",
    on="cell",
    order=1,
)
def one_class(cell: CellRecords) -> str | None:
    """Flag all cells of a detector that predicts one class on clean images.

    An attack that turns every verdict of an ordinary detector is a result, not a flaw.
    """
    own = None if cell.attacked else nearly_one_class(cell.records)
    return own or cell.of_clean(nearly_one_class)


def nearly_one_class(records: pd.DataFrame) -> str | None:
    """Return the share of verdicts of one class as a sentence, if at least 99 % although both classes occur."""
    fake = (records["correct"] == (records["label"] == 1)).mean()
    if records["label"].nunique() != 2 or 1 - _ONE_CLASS_SHARE < fake < _ONE_CLASS_SHARE:
        return None
    return f"{100 * max(fake, 1 - fake):.1f} % of {counted(len(records), 'verdict')} are one class"


@check(
    "worse_than_chance",
    meaning=(
        "the detector ranks real images above AI-generated ones: its outputs are probably swapped (set fake_index), and "
        "every number is mirrored"
    ),
    when="the clean AUROC is below 0.5 (Mann–Whitney test: p < 0.01, or p ≤ 0.05 with an AUROC of at most 0.25): the outputs are probably swapped",
    on="cell",
    order=2,
)
def worse_than_chance(cell: CellRecords) -> str | None:
    """Flag all cells of a detector that ranks clean images in the wrong order."""
    return cell.of_clean(below_chance)


def below_chance(cell: pd.DataFrame) -> str | None:
    """Return evidence that real images rank above AI-generated images; None if not significant.

    The one-sided test of Mann and Whitney (1947) of an AUROC below one half: at p < 0.01, or at p <= 0.05 where the
    AUROC is at most 0.25. Three images of each class are the fewest that show it. Each detector is tested separately: a
    mirrored detector is flagged in a run with many detectors, too.

    Parameters
    ----------
    cell
        Records of one detector on clean images.
    """
    if "log_odds" not in cell:
        return None
    fake, real = (cell["log_odds"][cell["label"] == label].to_numpy(float) for label in (1, 0))
    if not len(fake) or not len(real):
        return None
    auroc, p_value = _mann_whitney(fake, real)
    is_far = auroc <= _FAR_BELOW and p_value <= _FAR_BELOW_CHANCE
    if auroc >= 0.5 or not (p_value < _BELOW_CHANCE or is_far):
        return None
    return f"AUROC {auroc:.3f} on {len(cell)} clean images (p = {max(p_value, 1e-99):.1g}): swapped outputs would give {1 - auroc:.3f}"


def _mann_whitney(fake: NDArray[np.float64], real: NDArray[np.float64]) -> tuple[float, float]:
    """Return the AUROC and the p-value of one so low; exact for few images, with ties too."""
    test = mann_whitney_less(fake, real)
    auroc, p_value = test.statistic / (len(fake) * len(real)), test.p_value
    if len(fake) + len(real) > _COUNTED:
        return auroc, p_value
    # Twice the ranks, which ties make halves. ways[k, s]: choices of k images whose doubled ranks add up to s.
    doubled = np.rint(2 * test.ranks).astype(int)
    ways = np.zeros((len(fake) + 1, doubled.sum() + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank].copy()
    chosen = ways[-1]
    return auroc, float(chosen[: doubled[: len(fake)].sum() + 1].sum() / chosen.sum())


@check(
    "lost_to_rounding",
    meaning="the attack succeeds on float images and fails on the 8-bit images that an attacker can upload",
    when="at least 2 % of the attacked images fool the detector as float images and not as 8-bit images",
    on="cell",
    order=5,
)
def lost_to_rounding(cell: CellRecords) -> str | None:
    """Flag a cell if at least 2 % of the attacked images are fooled only as float images, not as 8-bit images."""
    tried = cell.records[cell.records["attacked"] & cell.records["correct_float"].notna()]
    lost = (tried["correct"] & ~tried["correct_float"].astype(bool)).mean()
    if tried.empty or lost < _ROUNDING_LOSS:
        return None
    return f"{100 * lost:.1f} % of {len(tried)} attacked images fool the detector only as float images"


@check(
    "eps_floored",
    meaning="eps is not a whole number of 8-bit levels; the budget was rounded down to one",
    when="eps is not a whole number of 8-bit levels",
    on="cell",
    order=6,
)
def eps_floored(cell: CellRecords) -> str | None:
    """Flag a pipeline with an attack whose eps is between two 8-bit levels."""
    floored = has_floored_eps(cell.pipeline.stages)
    return "the budget is smaller than the stated eps" if floored else None


@check(
    "gave_up_too_early",
    meaning=(
        "auto gave up on images that more attacks would fool, as a random sample of them shows (set effort: exhaustive): "
        "the accuracy is too high"
    ),
    when="by the random sample of the images that auto gave up on, more attacks would take at least a point off the accuracy",
    on="cell",
    order=16,
)
def gave_up_too_early(cell: CellRecords) -> str | None:
    """Flag a cell whose random sample says that the images given up on cost at least a point of accuracy."""
    price = price_of_giving_up(cell.records)
    if price is None or not price.fell or price.expected < _POINT * price.attacked:
        return None
    return (
        f"{price.fell} of {counted(price.sampled, 'sampled image')} fell to the attacks that {price.given_up} images did not "
        "get"
    )


def has_floored_eps(stages: Iterable[Stage]) -> bool:
    """Whether an L∞ attack among the stages of a pipeline has a budget between two 8-bit levels."""
    budgets = [(stage.norm, stage.eps) for stage in stages if stage.kind == "attack"]
    if not budgets:
        return False
    # It imports torch, which imported scores do without.
    from robustbench_aigen.attacks.threat_model import ThreatModel

    return any(ThreatModel(norm, eps).is_floored for norm, eps in budgets if eps is not None)


@check(
    "jpeg_at_own_quality",
    meaning="the last JPEG has the quality of the stored images and largely restores them",
    when="the last stage is a JPEG of the same quality as most source images",
    on="cell",
    order=7,
)
def jpeg_at_own_quality(cell: CellRecords) -> str | None:
    """Flag a pipeline that ends in a JPEG of the same quality as most source images."""
    stored = cell.stored
    if stored is None or not ends_at_quality(cell.pipeline, stored.quality):
        return None
    return f"{stored.having} of {stored.images} source images are stored at quality {stored.quality}"
