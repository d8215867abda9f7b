"""One or several runs as one: their summaries, records and galleries under common names of detectors."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.summary import ALL_GENERATORS
from robustbench_aigen.runs.info import DetectorInfo, FlagInfo
from robustbench_aigen.runs.run import Run
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.trust.flags import ONE_CLASS


@dataclass
class _JoinedDetector:
    """A detector of a report: where it comes from, and how it is called."""

    name: str
    identity: tuple[object, ...]
    pipelines: set[str]
    runs: list[int]
    label: str = ""


@dataclass(frozen=True)
class JoinedRuns:
    """Runs side by side.

    A detector that several runs have, with the same weights and threshold on the same images, is one detector with
    the pipelines of all of them. Otherwise it is shown once per run, which its label then names.

    Parameters
    ----------
    runs, labels
        The runs, and what each is called.
    detectors
        Names of the detectors of each run in this report.
    repeated
        By run: detectors whose clean rows an earlier run has brought already.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    detectors: tuple[Mapping[str, str], ...]
    repeated: tuple[frozenset[str], ...] = field(default=())

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The summaries, with the labels of this report for detectors; ``stages`` holds the stages of each pipeline."""
        return self._joined([with_stages(run) for run in self.runs])

    @cached_property
    def records(self) -> pd.DataFrame:
        """The records of the runs that have them, empty where none has; :meth:`cell` needs less memory."""
        return self._joined([run.records if run.has_records else pd.DataFrame() for run in self.runs])

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """The kept images of the runs that have some, empty where none has."""
        return self._joined([run.gallery for run in self.runs])

    @property
    def without_records(self) -> list[str]:
        """Labels of the runs that have no records: what needs single images cannot be shown of them."""
        return [label for label, run in zip(self.labels, self.runs, strict=True) if not run.has_records]

    def check(self) -> None:
        """Read all that the runs have, so that what is damaged is found before anything is drawn.

        Raises
        ------
        UserError
            If records or gallery of a run are damaged.
        """
        for run in self.runs:
            if run.has_records:
                list(run.cells)
            len(run.gallery)

    def cell(self, detector: str, pipeline: str) -> pd.DataFrame | None:
        """Return the records of a detector, by its label, under a pipeline; None where no run has them.

        Columns of single images (``sample``, ``sha256``) are those of :class:`robustbench_aigen.runs.cells.Cells`.
        """
        for run, name in self._runs_of(detector, pipeline):
            return run.cells.cell(name, pipeline)
        return None

    def has_cells(self, detector: str) -> bool:
        """Whether a run has records of a detector, by its label."""
        return any(
            run.has_records and detector in names.values()
            for run, names in zip(self.runs, self.detectors, strict=True)
        )

    def right_in_all(self, detector: str, pipelines: Sequence[str]) -> float:
        """Return the share of images that a detector, by its label, judges right under each of some pipelines.

        NaN where no run has records of one of them.
        """
        right: dict[int, pd.Series[bool]] = {}
        for pipeline in pipelines:
            found = next(self._runs_of(detector, pipeline), None)
            if found is None:
                return math.nan
            run, name = found
            correct = run.cells.cell(name, pipeline)["correct"].to_numpy(bool)
            if id(run) not in right:
                right[id(run)] = pd.Series(correct, index=run.cells.images()["sample"].to_numpy())
            else:
                right[id(run)] &= correct
        if not right:
            return math.nan
        parts = list(right.values())
        return float((parts[0] if len(parts) == 1 else pd.concat(parts).groupby(level=0).all()).mean())

    def _runs_of(self, detector: str, pipeline: str) -> Iterator[tuple[Run, str]]:
        for run, names, repeated in zip(self.runs, self.detectors, self.repeated, strict=True):
            for name, label in names.items():
                is_repeated = pipeline == CLEAN and name in repeated
                if label == detector and pipeline in run.pipelines and not is_repeated and run.has_records:
                    yield run, name

    def overall(self) -> pd.DataFrame:
        """Return the summary rows on all images."""
        return self.summary[self.summary["generator"] == ALL_GENERATORS]

    def info_of(self, label: str) -> DetectorInfo:
        """Return the entry of a detector in ``run.json``."""
        for run, names in zip(self.runs, self.detectors, strict=True):
            for detector in run.info.detectors:
                if names[detector.name] == label:
                    return detector
        raise KeyError(label)

    def one_class_detectors(self) -> list[str]:
        """Return the labels of the detectors that answer one class on clean images."""
        rows = self.overall()
        flagged = rows["trust"].str.split().map(lambda flags: ONE_CLASS in flags)
        return list(rows.loc[flagged & (rows["pipeline"] == CLEAN), "detector"])

    def flags(self) -> list[FlagInfo]:
        """Return the raised trust flags of all runs."""
        return [
            flag.model_copy(update={"detector": names[flag.detector]})
            for run, names in zip(self.runs, self.detectors, strict=True)
            for flag in run.info.trust.flags
        ]

    def _joined(self, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        parts = []
        for frame, names, repeated in zip(frames, self.detectors, self.repeated, strict=True):
            if len(frame):
                again = frame["detector"].isin(repeated) & (frame["pipeline"] == CLEAN)
                part = frame[~again]
                parts.append(part.assign(detector=part["detector"].astype(str).map(names)))
        if not parts:
            return pd.DataFrame()
        joined = pd.concat(parts, ignore_index=True)
        # The pipelines of one detector are listed together, across runs.
        order = {label: place for place, label in enumerate(joined["detector"].unique())}
        return joined.sort_values(
            "detector", key=lambda names: names.map(order), kind="stable", ignore_index=True
        )


def with_stages(run: Run) -> pd.DataFrame:
    """Return the summary of a run with a column ``stages``: name and parameters of each stage of the pipeline."""
    stages = {pipeline.name: pipeline.stages for pipeline in run.info.pipelines}
    return run.summary.assign(stages=run.summary["pipeline"].map(stages))


def join_runs(runs: Sequence[Run]) -> JoinedRuns:
    """Put runs side by side.

    Raises
    ------
    UserError
        If one of them is given twice.
    """
    labels = _run_labels(runs)
    shown: list[_JoinedDetector] = []
    of_run: list[dict[str, _JoinedDetector]] = []
    for number, run in enumerate(runs):
        pipelines = set(run.pipelines) - {CLEAN}
        by_name: dict[str, _JoinedDetector] = {}
        for detector in run.info.detectors:
            identity = _identity(run, detector)
            match = next(
                (each for each in shown if each.identity == identity and not each.pipelines & pipelines), None
            )
            if match is None:
                match = _JoinedDetector(detector.name, identity, set(), [])
                shown.append(match)
            match.pipelines |= pipelines
            match.runs.append(number)
            by_name[detector.name] = match
        of_run.append(by_name)
    counts = Counter(each.name for each in shown)
    for each in shown:
        where = " + ".join(labels[number] for number in each.runs)
        each.label = each.name if counts[each.name] == 1 else f"{each.name} ({where})"
    return JoinedRuns(
        tuple(runs),
        tuple(labels),
        tuple({name: each.label for name, each in by_name.items()} for by_name in of_run),
        tuple(
            frozenset(name for name, each in by_name.items() if each.runs[0] != number)
            for number, by_name in enumerate(of_run)
        ),
    )


def _identity(run: Run, detector: DetectorInfo) -> tuple[object, ...]:
    table = run.info.scores.sha256 if run.info.scores is not None else ""
    # The same weights see another image under another crop.
    seen = json.dumps(detector.seen, sort_keys=True)
    return detector.name, detector.weights_sha256, detector.threshold, seen, run.info.data.fingerprint, table


def _run_labels(runs: Sequence[Run]) -> list[str]:
    for number, run in enumerate(runs):
        if any(
            run.info is other.info or (run.folder and run.folder == other.folder) for other in runs[:number]
        ):
            raise UserError(f"'{run.folder or run.info.scenario.name}' is given twice")
        if not len(run.summary):
            raise UserError(
                f"'{run.folder}' is a baseline, which has no summary",
                hint="give the run folder that the baseline was made from",
            )
    choices = (
        [run.info.scenario.name for run in runs],
        [f"{run.info.scenario.name}/{run.info.run_id}" for run in runs],
        [str(run.folder or f"run {number}") for number, run in enumerate(runs, start=1)],
    )
    return next(labels for labels in choices if len(set(labels)) == len(labels))
