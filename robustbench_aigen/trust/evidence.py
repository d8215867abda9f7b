"""Flags that the records themselves raise, and the ``trust`` column."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.metrics.tail_tests import mann_whitney_less
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.stages.stage import Stage
from robustbench_aigen.text import counted
from robustbench_aigen.trust.comparisons import attack_cells, compare_cells
from robustbench_aigen.trust.flags import (
    FINDINGS,
    FLOORED,
    ONE_CLASS,
    OWN_QUALITY,
    ROUNDING,
    WORSE_THAN_CHANCE,
    Raised,
)
from robustbench_aigen.trust.stored_quality import StoredQuality, ends_at_quality

_ONE_CLASS_SHARE = 0.99
_ROUNDING_LOSS = 0.02
_BELOW_CHANCE = 0.01
_FAR_BELOW, _FAR_BELOW_CHANCE = 0.25, 0.05
_COUNTED = 60
"""Up to as many images, every assignment of the classes to them is counted."""


def answers_one_class(cell: pd.DataFrame) -> bool:
    """Whether at least 99 % of the verdicts are one class although both classes are there."""
    fake = (cell["correct"] == (cell["label"] == 1)).mean()
    return cell["label"].nunique() == 2 and not 1 - _ONE_CLASS_SHARE < fake < _ONE_CLASS_SHARE


def below_chance(cell: pd.DataFrame) -> str | None:
    """Say by how much real images rank above AI-generated ones, None where that may be chance.

    The one-sided test of Mann and Whitney (1947) of an AUROC below one half: at p < 0.01, or at p <= 0.05 where the
    AUROC is at most 0.25. Three images of each class are the fewest that show it. Each detector is tested on its own: a
    mirrored one stays flagged however many stand beside it.

    Parameters
    ----------
    cell
        Records of one detector without an attack.
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
    return f"AUROC {auroc:.3f} on {len(cell)} clean images (p = {max(p_value, 1e-99):.1g}): exchanged outputs would give {1 - auroc:.3f}"


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


def loses_to_rounding(cell: pd.DataFrame) -> bool:
    """Whether at least 2 % of the attacked images are fooled as float images but not as 8-bit ones."""
    attacked = cell[cell["attacked"] & cell["correct_float"].notna()]
    lost = attacked["correct"] & ~attacked["correct_float"].astype(bool)
    return len(attacked) > 0 and bool(lost.mean() >= _ROUNDING_LOSS)


def has_floored_eps(stages: Iterable[Stage]) -> bool:
    """Whether an L∞ attack among the stages of a pipeline has a budget between two 8-bit levels."""
    return any(
        ThreatModel(stage.norm, stage.eps).is_floored
        for stage in stages
        if stage.kind == "attack" and stage.eps is not None
    )


def raised_by_records(
    records: pd.DataFrame, pipelines: Sequence[Pipeline], stored: StoredQuality | None = None
) -> list[Raised]:
    """Return every flag that the records of a run raise.

    Checked per detector and pipeline on all images. A detector that answers one class on clean images, or ranks them
    the wrong way round, is flagged in all its cells. An attack that turns every verdict of an ordinary detector is a result, not a flaw.

    Parameters
    ----------
    records
        All records of the run.
    pipelines
        Its pipelines.
    stored
        The JPEG quality of the source images, where they have one.
    """
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    raised: list[Raised] = []
    one_class: dict[str, str] = {}
    below = _ranked_below_chance(records)
    for (detector, name), cell in records.groupby(["detector", "pipeline"], sort=False, observed=True):
        attacked = bool(cell["attacked"].any())
        evidence = one_class.get(detector)
        if not attacked and answers_one_class(cell):
            fake = (cell["correct"] == (cell["label"] == 1)).mean()
            evidence = f"{100 * max(fake, 1 - fake):.1f} % of {counted(len(cell), 'verdict')} are one class"
            if name == CLEAN:
                one_class[detector] = evidence
        if evidence is not None:
            raised.append(Raised(ONE_CLASS.flag, detector, name, evidence))
        if detector in below:
            raised.append(Raised(WORSE_THAN_CHANCE.flag, detector, name, below[detector]))
        if attacked and loses_to_rounding(cell):
            tried = cell[cell["attacked"] & cell["correct_float"].notna()]
            lost = (tried["correct"] & ~tried["correct_float"].astype(bool)).mean()
            evidence = f"{100 * lost:.1f} % of {len(tried)} attacked images are fooled as float images alone"
            raised.append(Raised(ROUNDING.flag, detector, name, evidence))
        if has_floored_eps(by_name[name].stages):
            raised.append(
                Raised(FLOORED.flag, detector, name, "the budget is smaller than the eps of its name")
            )
        if stored is not None and ends_at_quality(by_name[name], stored.quality):
            evidence = (
                f"{stored.having} of {stored.images} source images are stored at quality {stored.quality}"
            )
            raised.append(Raised(OWN_QUALITY.flag, detector, name, evidence))
    for detector, cells in attack_cells(records, pipelines):
        raised += compare_cells(detector, cells)
    return raised


def _ranked_below_chance(records: pd.DataFrame) -> dict[str, str]:
    """Return the evidence against every detector that ranks its clean images the wrong way round."""
    clean = records[records["pipeline"] == CLEAN]
    cells = clean.groupby("detector", sort=False, observed=True)
    told = {str(detector): below_chance(cell) for detector, cell in cells}
    return {detector: evidence for detector, evidence in told.items() if evidence is not None}


def add_trust(summary: pd.DataFrame, raised: Iterable[Raised]) -> pd.DataFrame:
    """Return the summary with its ``trust`` column: flags separated by spaces, ``ok`` where none is raised.

    Every generator row of a cell carries the cell's flags.
    """
    of_cell: dict[tuple[str, str], set[str]] = defaultdict(set)
    for flag, detector, pipeline, _ in raised:
        of_cell[detector, pipeline].add(flag)
    order = [finding.flag for finding in FINDINGS]
    trust = [
        " ".join(sorted(of_cell[row.detector, row.pipeline], key=order.index)) or "ok"
        for row in summary.itertuples()
    ]
    return summary.assign(trust=trust)
