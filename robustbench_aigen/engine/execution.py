"""Computes the records of an experiment, shard by shard, from the cache where it can.

A shard goes through all cells before the next is read, so memory does not grow with the number of images.
"""

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.engine.cell import Cell, no_records
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.identity import seed_key, shard_key
from robustbench_aigen.engine.perturbed_ahead import PerturbedAhead
from robustbench_aigen.engine.pipeline_state import PipelineState
from robustbench_aigen.engine.prefetch import Lookahead
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.shards import Problem, Shard, ShardImages
from robustbench_aigen.engine.store import Cache
from robustbench_aigen.engine.timing import Steps
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.memory import BoundedCache, within_memory
from robustbench_aigen.numerics.seeding import seeded_global_rng
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline

T = TypeVar("T")

_NAMED = 10
"""Number of unreadable images with a notice of their own; ``run.json`` lists all."""
_MEMORY = 256 * 1024**2
"""Bytes of half-way pipeline results that a shard may keep."""


class Execution:
    """The state of one run: the shard at work, timings of cells and of the steps beside them, unreadable images.

    Parameters
    ----------
    plan
        The experiment to compute.
    cache
        Finished shards.
    progress
        The receiver of the progress.
    """

    def __init__(self, experiment: Experiment, cache: Cache, progress: Progress) -> None:
        self.experiment, self.cache, self.progress = experiment, cache, progress
        self._problems: dict[str, Problem] = {}
        self._batch_limits: dict[str, int] = {}
        self.timings: list[dict[str, Any]] = []
        self.steps = Steps()
        self.kept = pd.DataFrame()

    @property
    def problems(self) -> list[Problem]:
        """Unreadable images, in the order of their ids."""
        return [self._problems[sample] for sample in sorted(self._problems)]

    def records(self, shards: Sequence[Shard]) -> pd.DataFrame:
        """Return the records of all cells; ``kept`` has the records of the gallery images."""
        cells = [
            self.experiment.cell(detector, pipeline)
            for detector in self.experiment.detectors
            for pipeline in self.experiment.pipelines
        ]
        frames = self.cell_records(cells, shards)
        for cell, frame in zip(cells, frames, strict=True):
            frame.insert(0, "pipeline", cell.pipeline.name)
            frame.insert(0, "detector", cell.detector.name)
        records = pd.concat(frames, ignore_index=True)
        self.kept = records[records["image"].notna()]
        return records.drop(columns="image")

    def cell_records(self, cells: Sequence[Cell], shards: Sequence[Shard]) -> list[pd.DataFrame]:
        """Return the records of some cells, computing the shards that are not in the cache.

        Raises
        ------
        UserError
            If not one image of the selection can be read.
        """
        self.progress.start(len(cells) * sum(len(shard.indices) for shard in shards))
        began = time.perf_counter()
        timings = [_timing(cell) for cell in cells]
        self.timings += timings
        frames: list[list[pd.DataFrame]] = [[] for _ in cells]
        with Lookahead() as lookahead, PerturbedAhead() as ahead:
            works = [_ShardWork(self, shard, lookahead, ahead) for shard in shards]
            for place, work in enumerate(works):
                work.begin(cells, works[place + 1] if place + 1 < len(works) else None)
                for number, (cell, timing, parts) in enumerate(zip(cells, timings, frames, strict=True)):
                    work.prepare(cells[number + 1 : number + 2])
                    self.progress.work_on(cell.detector.name, cell.pipeline.name)
                    clock = time.perf_counter()
                    frame, batch_size = work.records(cell, self.progress.advance)
                    parts.append(frame)
                    timing["seconds"] = round(timing["seconds"] + time.perf_counter() - clock, 3)
                    timing["shards_computed" if work.was_computed(cell) else "shards_cached"] += 1
                    timing["batch_size"] = min(timing["batch_size"], batch_size)
                work.end()
        inside = sum(timing["seconds"] for timing in timings)
        self.steps.add("decoding", max(0.0, time.perf_counter() - began - inside))
        if not any(len(frame) for frame in frames[0]):
            first = self.problems[0]
            raise UserError(
                f"no image can be read ({len(self.problems)} tried); the first is {first.sample}: {first.reason}",
                source=self.experiment.scenario.where("data", "source"),
            )
        for notice in unreadable_by_class(shards, self._problems):
            self.progress.notice(notice)
        return [pd.concat([part for part in parts if len(part)], ignore_index=True) for parts in frames]

    def key(self, cell: Cell, shard: Shard) -> str:
        """Return the key of a cell on a shard in the store."""
        limited = self.limited(cell)
        return shard_key(cell.detector, cell.pipeline, shard, limited.settings, cell.surrogates)

    def compute(self, cells: Sequence[Cell], shard: Shard) -> None:
        """Compute the cells of one shard that are missing in the store."""
        with Lookahead() as lookahead, PerturbedAhead() as ahead:
            work = _ShardWork(self, shard, lookahead, ahead)
            work.begin(cells, None)
            for number, cell in enumerate(cells):
                work.prepare(cells[number + 1 : number + 2])
                work.records(cell, _ignore)
            work.end()

    def limited(self, cell: Cell) -> Cell:
        """Return a cell with the batch size that fits into memory for its detector."""
        limit = self._batch_limits.get(cell.detector.name, cell.settings.batch_size)
        return _with_batches(cell, min(limit, cell.settings.batch_size))

    def within_memory(
        self, cell: Cell, call: Callable[[Cell], T], release: Callable[[], None] = lambda: None
    ) -> tuple[T, int]:
        """Return the result of a cell, computed in batches that fit into memory, and their size.

        Parameters
        ----------
        cell
            The cell of the experiment; its detector keeps the batch size that fits.
        call
            Computes, in batches of the cell's settings.
        release
            Releases memory before each new try.

        Raises
        ------
        UserError
            If there is not enough memory for a single image.
        """
        name, first = cell.detector.name, self.limited(cell).settings.batch_size

        def begin_again(line: str) -> None:
            release()
            self.progress.notice(line)

        def computed(size: int) -> T:
            if size < first:
                self._batch_limits[name] = size
            return call(_with_batches(cell, size))

        return within_memory(computed, first, name, begin_again)

    def report(self, problems: Sequence[Problem]) -> None:
        """Note unreadable images and name the first of them."""
        for problem in problems:
            if problem.sample not in self._problems:
                self._problems[problem.sample] = problem
                if len(self._problems) <= _NAMED:
                    self.progress.notice(f"skipped {problem.sample}: {problem.reason}")


def _with_batches(cell: Cell, size: int) -> Cell:
    return replace(cell, settings=replace(cell.settings, batch_size=size))


def unreadable_by_class(shards: Sequence[Shard], unreadable: Container[str]) -> list[str]:
    """Return a line that counts the unreadable images of each class, and one for a class that has no others.

    Parameters
    ----------
    shards
        The images that were wanted.
    unreadable
        The ids of those that could not be read.
    """
    labels = [sample.label for shard in shards for sample in shard.samples]
    missing = [s.label for shard in shards for s in shard.samples if s.id in unreadable]
    if not missing:
        return []
    counts = ", ".join(
        f"{missing.count(label)} of {labels.count(label)} {name}"
        for label, name in enumerate(CLASS_NAMES)
        if label in labels
    )
    lines = [f"unreadable images, left out: {counts}"]
    lines += [
        f"no {name} image can be read: numbers that need {name} images stay empty"
        for label, name in enumerate(CLASS_NAMES)
        if label in labels and missing.count(label) == labels.count(label)
    ]
    return lines


def _timing(cell: Cell) -> dict[str, Any]:
    return {
        "step": "cell",
        "detector": cell.detector.name,
        "pipeline": cell.pipeline.name,
        "seconds": 0.0,
        "shards_computed": 0,
        "shards_cached": 0,
        "batch_size": cell.settings.batch_size,
    }


class _ShardWork:
    """One shard during the cells: its images, decoded on first use, and the values that cells share."""

    def __init__(
        self, execution: Execution, shard: Shard, lookahead: Lookahead, ahead: PerturbedAhead
    ) -> None:
        self._execution, self.shard = execution, shard
        self._lookahead, self._ahead = lookahead, ahead
        self._images: ShardImages | None = None
        self._states: BoundedCache[PipelineState] = BoundedCache(_MEMORY, lambda state: state.bytes)
        self._frames: dict[str, pd.DataFrame] = {}
        self._computed: set[str] = set()

    def begin(self, cells: Sequence[Cell], following: "_ShardWork | None") -> None:
        """Decode the shard if a cell needs its images, and have those of the following one decoded meanwhile."""
        if self.needs_images(cells):
            self._images = self._lookahead.take(self.shard)
        if following is not None and following.needs_images(cells):
            self._lookahead.prepare(following.shard)

    def prepare(self, following: Sequence[Cell]) -> None:
        """Have the images of the next cell perturbed meanwhile, if its records are not in the cache."""
        if self._images is None or not self._images.samples:
            return
        for cell in map(self._execution.limited, following):
            if not self._execution.cache.has(self._key(cell)):
                self._ahead.prepare(cell, self._images)

    def end(self) -> None:
        """Release the images and the shared values."""
        self._images = None
        self._ahead.clear()
        self._states.clear()
        self._frames.clear()

    def needs_images(self, cells: Sequence[Cell]) -> bool:
        """Whether a cell's records are missing in the cache, by the files alone."""
        cache, limited = self._execution.cache, self._execution.limited
        return not all(cache.has(self._key(limited(cell))) for cell in cells)

    def was_computed(self, cell: Cell) -> bool:
        """Whether the records of a cell were not in the cache."""
        return self._key(self._execution.limited(cell)) in self._computed

    def records(self, cell: Cell, advance: Callable[[int], None]) -> tuple[pd.DataFrame, int]:
        """Return the shard's records in a cell and the batch size that they were computed with."""
        count, done = len(self.shard.indices), 0

        def advance_part(images: int) -> None:
            # A second attack stage, or a second try, goes over the same images again; other images are not counted.
            nonlocal done
            part = min(images, count - done)
            done += part
            advance(part)

        def computed(limited: Cell) -> pd.DataFrame:
            return self._one_try(limited, advance_part)

        found = self._execution.within_memory(cell, computed, self._states.clear)
        advance_part(count)
        return found

    def _key(self, cell: Cell, length: int | None = None) -> str:
        pipeline = cell.pipeline if length is None else Pipeline("", cell.pipeline.stages[:length])
        return shard_key(cell.detector, pipeline, self.shard, cell.settings, cell.surrogates)

    def _seed(self, cell: Cell, length: int | None = None) -> str:
        pipeline = cell.pipeline if length is None else Pipeline("", cell.pipeline.stages[:length])
        return seed_key(cell.detector, pipeline, self.shard, cell.settings, cell.surrogates)

    def _one_try(self, cell: Cell, advance: Callable[[int], None]) -> pd.DataFrame:
        key = self._key(cell)
        if key in self._frames:
            return self._frames[key]
        stored = self._execution.cache.load(key)
        if stored is not None:
            frame, problems = stored
        else:
            if self._images is None:
                self._images = self._lookahead.take(self.shard)
            problems = self._images.problems
            frame = self._compute(cell, self._images, advance) if self._images.samples else no_records()
            self._execution.cache.save(key, frame, problems)
            self._computed.add(key)
        self._execution.report(problems)
        self._frames[key] = frame
        return frame

    def _compute(self, cell: Cell, images: ShardImages, advance: Callable[[int], None]) -> pd.DataFrame:
        clean_log_odds: Tensor | None = None
        if cell.pipeline.name != CLEAN:
            clean = self._one_try(replace(cell, pipeline=Pipeline(CLEAN, ())), _ignore)
            clean_log_odds = torch.from_numpy(clean["clean_log_odds"].to_numpy().copy())
        smaller = cell.pipeline.smaller
        smaller_eps_records = (
            None if smaller is None else self._one_try(replace(cell, pipeline=smaller), _ignore)
        )

        def prefix(length: int, make: Callable[[], PipelineState]) -> PipelineState:
            key = self._key(cell, length)

            def seeded() -> PipelineState:
                with seeded_global_rng(self._seed(cell, length)):
                    return make()

            return self._states.get(key, seeded)

        def ahead(length: int) -> list[Tensor] | None:
            return self._ahead.take(cell, length, images)

        # A detector that draws from global generators answers the same after any other code.
        with seeded_global_rng(self._seed(cell)):
            return cell.run(images, clean_log_odds, prefix, advance, smaller_eps_records, ahead)


def _ignore(images: int) -> None:
    """Ignore progress, because the images belong to another cell."""
    del images
