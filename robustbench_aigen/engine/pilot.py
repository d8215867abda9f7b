"""Pilots: a part of an experiment is run in memory, and its times tell those of the whole."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from robustbench_aigen.data.selection import stratified
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.progress import Progress, Silent
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import of_images

_FIRST = 4
"""Images of the first pilot."""
_GROWTH, _LEAST_GROWTH = 4, 2
"""Factor from a pilot to the next; and from the first to the second, where four times as many would take too long."""
_PATIENCE = 3
"""Factor of the allowed time for the second pilot: without it nothing tells what a run takes beside its images."""
_MOST = 512
"""Images of the largest pilot."""
_TRUST: Mapping[str, tuple[float, float, float]] = {
    "off": (0.0, 0.0, 0.0),
    "quick": (0.0, 0.12, 0.34),
    "full": (0.0, 0.5, 1.0),
}
"""Time of the trust checks, in times of the cells: least, expected, most. ``quick`` takes at most a quarter of a run; the
other shares are assumptions."""
_NOISE = 0.2
"""Relative uncertainty of a measured time: an assumption for shared machines."""
_SIGMAS = 2.0
"""Standard errors of the mean work of an image that the range includes."""

RunInMemory = Callable[[Experiment, Progress], Run]
"""Runs an experiment in memory."""


class Pilot(NamedTuple):
    """A finished pilot.

    Attributes
    ----------
    run
        The run of the part, without trust checks.
    images
        Images of the part, and of the whole experiment.
    cells
        Seconds for each detector and pipeline.
    scaled, fixed
        Seconds beside the cells that grow with the images, and those that do not.
    memory
        Peak memory in bytes for each detector and pipeline; empty where the system does not tell.
    before
        The smaller pilot before.
    """

    run: Run
    images: int
    whole: int
    cells: Mapping[tuple[str, str], float]
    scaled: float
    fixed: float
    memory: Mapping[tuple[str, str], int]
    before: "Pilot | None" = None

    @property
    def rate(self) -> "Span":
        """Seconds that an image takes in all cells."""
        rates = [self.cell_rate(key) for key in self.cells]
        beside = self.scaled / max(1, self.images)
        return Span(*(sum(column) + beside for column in zip(*rates, strict=True)))

    def cell_rate(self, key: tuple[str, str]) -> "Span":
        """Seconds that an image takes in a cell.

        The mean over the pilot is too much where small batches are slow, and the growth since the pilot before is
        too little where large ones are: the truth is expected in the middle.
        """
        mean = self.cells[key] / max(1, self.images)
        growth = self._growth(key)
        error = 1 + _NOISE + _SIGMAS * relative_error(_work(self.run.records, *key))
        return Span(growth / error, (mean + growth) / 2, mean * error)

    def _growth(self, key: tuple[str, str]) -> float:
        """Return the seconds of a cell for an image more than the pilot has."""
        mean = self.cells[key] / max(1, self.images)
        if self.before is None or self.images <= self.before.images:
            return mean
        growth = (self.cells[key] - self.before.cells[key]) / (self.images - self.before.images)
        return min(mean, max(growth, mean / _GROWTH))

    def following(self, images: int) -> float:
        """Return the seconds of a larger pilot."""
        more = images - self.images
        cells = sum(seconds + more * self._growth(key) for key, seconds in self.cells.items())
        return self.fixed + cells + self.scaled * images / max(1, self.images)

    def seconds(self, images: int, trust: str) -> "Span":
        """Return the time of a run on a number of images."""
        rates = zip(self.rate, _TRUST[trust], strict=True)
        return Span(*(images * rate * (1 + share) + self.fixed for rate, share in rates))


class Span(NamedTuple):
    """Seconds: the least and the most that are likely, and the estimate."""

    least: float
    likely: float
    most: float


def pilot(experiment: Experiment, run: RunInMemory, allowed: Callable[[Pilot], float]) -> Pilot:
    """Run growing parts of an experiment, and return the last.

    Parameters
    ----------
    experiment
        The experiment; its detectors must not be services, which a pilot would ask.
    run
        Runs an experiment in memory.
    allowed
        The seconds that the next part may take after a pilot.
    """
    whole = len(experiment.selection.indices)
    count, done = min(_FIRST, whole), None
    while count:
        done = _timed(experiment, count, run)._replace(before=done)
        count = _following(done, allowed(done))
    assert done is not None
    return done._replace(before=done.before and done.before._replace(before=None))


def _following(done: Pilot, allowed: float) -> int:
    """Return the number of images of the pilot after another; 0 if it was the last."""
    growths = [(_GROWTH, allowed)]
    if done.before is None:
        growths.append((_LEAST_GROWTH, _PATIENCE * allowed))
    for growth, seconds in growths:
        count = min(growth * done.images, done.whole, _MOST)
        if count > done.images and done.following(count) <= seconds:
            return count
    return 0


def _timed(experiment: Experiment, count: int, run: RunInMemory) -> Pilot:
    selection = experiment.selection
    part = experiment.replaced(
        selection=selection._replace(indices=stratified(selection.source.samples, selection.indices, count)),
        scenario=experiment.scenario.model_copy(update={"trust": "off"}),
    )
    watch = _MemoryWatch()
    clock = time.perf_counter()
    done = run(part, watch)
    taken = time.perf_counter() - clock
    watch.work_on("", "")
    names = {pipeline.name for pipeline in experiment.pipelines}
    cells = {
        (row.detector, row.pipeline): row.seconds
        for row in done.info.timings
        if row.step == "cell" and row.pipeline in names
    }
    scaled = sum(row.seconds for row in done.info.timings if of_images(row.step))
    fixed = max(0.0, taken - sum(cells.values()) - scaled)
    return Pilot(done, count, len(selection.indices), cells, scaled, fixed, watch.peaks)


def estimated_cells(experiment: Experiment, found: Pilot) -> pd.DataFrame:
    """Return ``detector, pipeline, images, seconds, least, most, queries, memory_mb`` per cell.

    ``seconds`` are expected, ``least`` and ``most`` their range. ``queries`` are the gradients and verdicts that attacks
    take. ``memory_mb`` is the peak of the process while the cell was computed, and on a GPU the peak of its memory.
    """
    rows = []
    images = found.whole
    for detector in experiment.detectors:
        for pipeline in experiment.pipelines:
            key = (detector.name, pipeline.name)
            work = _work(found.run.records, *key)
            rate = found.cell_rate(key)
            rows.append(
                {
                    "detector": detector.name,
                    "pipeline": pipeline.name,
                    "images": images,
                    "seconds": rate.likely * images,
                    "least": rate.least * images,
                    "most": rate.most * images,
                    "queries": round(float(work.mean()) * images) if len(work) else 0,
                    "memory_mb": round(found.memory[key] / 1e6) if key in found.memory else pd.NA,
                }
            )
    return pd.DataFrame(rows)


def relative_error(work: pd.Series) -> float:
    """Return the standard error of a mean, in units of the mean; 0 where nothing varies."""
    mean = float(work.mean()) if len(work) else 0.0
    return float(work.std()) / mean / len(work) ** 0.5 if mean > 0 and len(work) > 1 else 0.0


def _work(records: pd.DataFrame, detector: str, pipeline: str) -> "pd.Series[float]":
    chosen = (records["detector"] == detector) & (records["pipeline"] == pipeline)
    return records.loc[chosen, "queries"].astype("float64")


class _MemoryWatch(Silent):
    """Notes the peak of memory of each cell."""

    def __init__(self) -> None:
        self.peaks: dict[tuple[str, str], int] = {}
        self._at: tuple[str, str] | None = None

    def work_on(self, detector: str, pipeline: str) -> None:
        """Note the peak since the last call for the cell before, and begin again."""
        peak = _peak_memory()
        if self._at is not None and peak is not None:
            self.peaks[self._at] = max(peak, self.peaks.get(self._at, 0))
        self._at = (detector, pipeline) if detector else None
        _forget_peak()


def _peak_memory() -> int | None:
    """Return the largest memory in bytes since it was forgotten; of a GPU, where one is used."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


def _forget_peak() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return  # Without the right to forget, the peaks only grow.
