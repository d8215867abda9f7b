"""Comparison of cells that end in an attack: a stronger attack may not leave a higher accuracy."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.metrics.tail_tests import binomial_tail
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import Check, Checks
from robustbench_aigen.trust.flags import RaisedFlag

_SIGNIFICANCE = 0.01
_POINTS = 0.01
_SWEPT = {"eps", "step_size"}
"""Parameters that two cells of a sweep over eps may differ in: a step size left to the recipe follows eps."""


class AttackCell(NamedTuple):
    """A cell whose pipeline ends in an attack.

    ``stages`` are :meth:`~robustbench_aigen.stages.stage.Stage.to_dict`; ``access`` is what the attack asks of
    the detector; ``correct`` has a verdict per sample id, under a unique index.
    """

    pipeline: str
    stages: tuple[dict[str, Value], ...]
    access: str
    correct: "pd.Series[bool]"

    @property
    def attack(self) -> dict[str, Value]:
        """The last stage."""
        return self.stages[-1]

    @property
    def is_transfer(self) -> bool:
        """Whether the images are made against another detector."""
        return bool(self.attack.get("surrogate"))

    @property
    def is_direct(self) -> bool:
        """Whether the attack follows the detector's own gradients."""
        return self.access == "gradients" and not self.is_transfer

    def faces(self, other: "AttackCell") -> bool:
        """Whether both attack the same images under the same threat model: equal norm, eps and deployment."""
        keys = ("norm", "eps", "mask", "through")
        return self.stages[:-1] == other.stages[:-1] and all(
            self.attack.get(key) == other.attack.get(key) for key in keys
        )

    def sweeps_with(self, other: "AttackCell") -> bool:
        """Whether the two differ in eps alone."""

        def rest(cell: AttackCell) -> dict[str, Value]:
            return {name: value for name, value in cell.attack.items() if name not in _SWEPT}

        return (
            self.stages[:-1] == other.stages[:-1]
            and rest(self) == rest(other)
            and self.attack.get("eps") != other.attack.get("eps")
        )


def attack_cells(
    records: pd.DataFrame, pipelines: Sequence[Pipeline]
) -> Iterator[tuple[str, list[AttackCell]]]:
    """Yield every detector with its cells that end in an attack."""
    ending = {p.name: p for p in pipelines if p.ends_in_attack}
    for detector, rows in records.groupby("detector", sort=False, observed=True):
        cells = []
        for name, cell in rows.groupby("pipeline", sort=False, observed=True):
            if (pipeline := ending.get(str(name))) is not None:
                stages = tuple(stage.to_dict() for stage in pipeline.stages)
                correct = cell.set_index("sample")["correct"].astype(bool)
                cells.append(AttackCell(str(name), stages, pipeline.attacks[-1].recipe.access, correct))
        yield str(detector), cells


def clearly_lower(correct: "pd.Series[bool]", other: "pd.Series[bool]") -> bool:
    """Whether the second of two attacks leaves clearly less: at least a point, and not by chance.

    By chance: the one-sided exact McNemar test (McNemar 1947) on the images that both have, p < 0.01.

    Parameters
    ----------
    correct, other
        Verdicts by sample id.
    """
    common = correct.index.intersection(other.index)
    ours, theirs = correct[common].to_numpy(bool), other[common].to_numpy(bool)
    lost, won = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    if lost - won < max(1, _POINTS * len(common)):
        return False
    return bool(binomial_tail(lost, lost + won) < _SIGNIFICANCE)


def compare_cells(detector: str, cells: Sequence[AttackCell], checks: Checks) -> Iterator[RaisedFlag]:
    """Yield the flags that the attack cells of one detector raise against each other, each against its worst rival."""
    for cell in cells:
        worst: dict[str, AttackCell] = {}
        for other in cells:
            if other is cell:
                continue
            for each in checks.on("pair"):
                if _is_rival(each, checks, cell, other) and clearly_lower(cell.correct, other.correct):
                    before = worst.setdefault(each.name, other)
                    worst[each.name] = min(before, other, key=lambda rival: rival.correct.mean())
        for name, other in worst.items():
            common = cell.correct.index.intersection(other.correct.index)
            kept, left = (100 * c.correct[common].mean() for c in (cell, other))
            evidence = (
                f"{kept:.1f} % of {counted(len(common), 'image')} are left, {left:.1f} % by {other.pipeline}"
            )
            yield RaisedFlag(name, detector, cell.pipeline, evidence)


def _is_rival(each: Check, checks: Checks, cell: AttackCell, other: AttackCell) -> bool:
    """Whether a check forbids that ``other`` leaves a clearly lower accuracy than ``cell``."""
    return bool(checks.ask(each, lambda: each.parts["pair"](cell, other), bool))
