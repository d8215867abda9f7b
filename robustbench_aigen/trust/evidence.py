"""Flags that the records themselves raise."""

import json
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.scenario.cells import CLEAN


class Finding(NamedTuple):
    """A flag of the ``trust`` column and what it means."""

    flag: str
    meaning: str


ONE_CLASS = Finding(
    "one_class", "the detector gives nearly every image the same verdict; its accuracy is the class balance"
)
ROUNDING = Finding(
    "lost_to_rounding",
    "the attack succeeds on float images and fails on the 8-bit ones an attacker could upload",
)
FLOORED = Finding(
    "eps_floored", "eps is not a whole number of 8-bit levels; the budget was rounded down to one"
)
FINDINGS = (ONE_CLASS, ROUNDING, FLOORED)

_ONE_CLASS_SHARE = 0.99
_ROUNDING_LOSS = 0.02


def answers_one_class(cell: pd.DataFrame) -> bool:
    """Whether at least 99 % of the verdicts are one class although both classes are there."""
    fake = (cell["correct"] == (cell["label"] == 1)).mean()
    return cell["label"].nunique() == 2 and not 1 - _ONE_CLASS_SHARE < fake < _ONE_CLASS_SHARE


def loses_to_rounding(cell: pd.DataFrame) -> bool:
    """Whether at least 2 % of the attacked images are fooled as float images but not as 8-bit ones."""
    attacked = cell[cell["attacked"] & cell["correct_float"].notna()]
    lost = attacked["correct"] & ~attacked["correct_float"].astype(bool)
    return len(attacked) > 0 and bool(lost.mean() >= _ROUNDING_LOSS)


def has_floored_eps(stage_params: str) -> bool:
    """Whether an L∞ attack of a pipeline has a budget between two 8-bit levels."""
    stages = json.loads(stage_params)
    return any(ThreatModel(stage["norm"], stage["eps"]).is_floored for stage in stages if "attack" in stage)


def add_trust(summary: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with its ``trust`` column: flags separated by spaces, ``ok`` where none is raised.

    Checked per detector and pipeline on all images; every generator row of a cell carries the cell's flags. A
    detector that answers one class on clean images is flagged in all its cells. An attack that turns every
    verdict of an ordinary detector is a result, not a flaw.
    """
    flags: dict[tuple[str, str], list[str]] = {}
    one_class: set[str] = set()
    for (detector, pipeline), cell in records.groupby(["detector", "pipeline"], sort=False, observed=True):
        attacked = bool(cell["attacked"].any())
        raised = not attacked and answers_one_class(cell)
        if raised and pipeline == CLEAN:
            one_class.add(detector)
        cell_flags = flags.setdefault((detector, pipeline), [])
        if raised or detector in one_class:
            cell_flags.append(ONE_CLASS.flag)
        if attacked and loses_to_rounding(cell):
            cell_flags.append(ROUNDING.flag)
    for row in summary[summary["generator"] == ALL_GENERATORS].itertuples():
        if has_floored_eps(row.stage_params):
            flags[row.detector, row.pipeline].append(FLOORED.flag)
    trust = [" ".join(flags[row.detector, row.pipeline]) or "ok" for row in summary.itertuples()]
    return summary.assign(trust=trust)
