"""The flags from the records of a run, and the ``trust`` column."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pandas as pd

from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.trust.attack_cells import attack_cells, compare_cells
from robustbench_aigen.trust.check import Checks, flags
from robustbench_aigen.trust.flags import RaisedFlag
from robustbench_aigen.trust.stored_quality import StoredQuality

T = TypeVar("T")


@dataclass(frozen=True)
class CellRecords:
    """The records of a detector under a pipeline, with further facts that checks need.

    Parameters
    ----------
    records, clean
        A row per image: under the pipeline, and of the same detector on clean images.
    pipeline
        The stages that changed the images.
    stored
        The JPEG quality of the source images, if they have one.
    """

    records: pd.DataFrame
    clean: pd.DataFrame
    pipeline: Pipeline
    stored: StoredQuality | None = None
    _of_clean: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def attacked(self) -> bool:
        """Whether any image is attacked."""
        return bool(self.records["attacked"].any())

    def of_clean(self, judge: Callable[[pd.DataFrame], T]) -> T:
        """Return the result of a function for the clean records, computed once per detector."""
        if judge not in self._of_clean:
            self._of_clean[judge] = judge(self.clean)
        return cast(T, self._of_clean[judge])


def raised_by_records(
    records: pd.DataFrame,
    pipelines: Sequence[Pipeline],
    stored: StoredQuality | None = None,
    checks: Checks | None = None,
) -> list[RaisedFlag]:
    """Return every flag that the records of a run raise.

    Parameters
    ----------
    records
        All records of the run.
    pipelines
        Its pipelines.
    stored
        The JPEG quality of the source images, if they have one.
    checks
        The checks of the run.
    """
    checks = checks or Checks()
    by_name = {pipeline.name: pipeline for pipeline in pipelines}
    clean = records[records["pipeline"] == CLEAN]
    of_clean: dict[str, dict[Hashable, Any]] = defaultdict(dict)
    raised: list[RaisedFlag] = []
    for (detector, name), cell in records.groupby(["detector", "pipeline"], sort=False, observed=True):
        own = clean[clean["detector"] == detector]
        asked = CellRecords(cell, own, by_name[name], stored, of_clean[detector])
        for each in checks.on("cell"):
            evidence: str | None = checks.ask(each, lambda: each.parts["cell"](asked), (str, type(None)))  # noqa: B023
            if evidence is not None:
                raised.append(RaisedFlag(each.name, detector, name, evidence))
    for detector, cells in attack_cells(records, pipelines):
        raised += compare_cells(detector, cells, checks)
    return raised


def add_trust(summary: pd.DataFrame, raised: Iterable[RaisedFlag]) -> pd.DataFrame:
    """Return the summary with its ``trust`` column: flags separated by spaces, ``ok`` where none is raised.

    Every generator row of a cell carries the cell's flags.
    """
    of_cell: dict[tuple[str, str], set[str]] = defaultdict(set)
    for flag, detector, pipeline, _ in raised:
        of_cell[detector, pipeline].add(flag)
    order = [flag.name for flag in flags()]
    trust = [
        " ".join(sorted(of_cell[row.detector, row.pipeline], key=order.index)) or "ok"
        for row in summary.itertuples()
    ]
    return summary.assign(trust=trust)
