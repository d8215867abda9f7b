"""Computes the records of a plan, shard by shard, from the cache where it can."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.engine.cell import Cell, PipelineState, no_records
from robustbench_aigen.engine.identity import shard_key
from robustbench_aigen.engine.memory import BoundedCache
from robustbench_aigen.engine.plan import Plan
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.shards import Problem, Shard, ShardImages, decode_shard
from robustbench_aigen.engine.store import ShardCache
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.cells import CLEAN, BoundPipeline


def _ignore(images: int) -> None:
    """Report no progress: the clean images that another cell looks up are not its own."""
    del images


_MEMORY = 512 * 1024**2
"""Bytes of decoded images, and as many of half-way pipeline results, that a run may keep."""


class Execution:
    """The state of one run: memory of images, timings, unreadable images.

    Parameters
    ----------
    plan
        What to compute.
    cache
        Finished shards.
    progress
        Who is told.
    """

    def __init__(self, plan: Plan, cache: ShardCache, progress: Progress) -> None:
        self.plan, self.cache, self.progress = plan, cache, progress
        self._images: BoundedCache[ShardImages] = BoundedCache(_MEMORY, lambda images: images.bytes)
        self._states: BoundedCache[PipelineState] = BoundedCache(_MEMORY, lambda state: state.bytes)
        self._problems: dict[str, Problem] = {}
        self.timings: list[dict[str, Any]] = []

    @property
    def problems(self) -> list[Problem]:
        """Images that could not be read, in order of their ids."""
        return [self._problems[sample] for sample in sorted(self._problems)]

    def records(self, shards: list[Shard]) -> pd.DataFrame:
        """Return the records of all cells of the plan."""
        self.progress.start(self.plan.cells)
        frames = []
        for detector in self.plan.detectors:
            for pipeline in self.plan.pipelines:
                frame = self.cell_records(self.plan.cell(detector, pipeline), shards)
                frame.insert(0, "pipeline", pipeline.name)
                frame.insert(0, "detector", detector.name)
                frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def cell_records(self, cell: Cell, shards: list[Shard]) -> pd.DataFrame:
        """Return the records of one cell, computing the shards that are not in the cache.

        Raises
        ------
        UserError
            If not one image of the selection can be read.
        """
        clock, computed = time.perf_counter(), 0
        self.progress.start_cell(cell.detector.name, cell.pipeline.name, sum(len(s.indices) for s in shards))
        frames = []
        for shard in shards:
            frame, was_computed = self._shard_records(cell, shard, self.progress.advance)
            computed += was_computed
            frames.append(frame)
        if not any(len(frame) for frame in frames):
            first = self.problems[0]
            count = len(self.problems)
            error = UserError(
                f"none of the {count} images can be read; the first is {first.sample}: {first.reason}"
            )
            raise self.plan.loaded.located(error, ("data", "source"))
        self.timings.append(
            {
                "detector": cell.detector.name,
                "pipeline": cell.pipeline.name,
                "seconds": round(time.perf_counter() - clock, 3),
                "shards_computed": computed,
                "shards_cached": len(shards) - computed,
                "batch_size": cell.settings.batch_size,
            }
        )
        return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)

    def _shard_records(
        self, cell: Cell, shard: Shard, advance: Callable[[int], None]
    ) -> tuple[pd.DataFrame, bool]:
        """Return a shard's records and whether they had to be computed."""
        key = shard_key(cell.detector, cell.pipeline, shard, cell.settings)
        held = self.cache.load(key)
        if held is not None:
            records, problems = held
            advance(len(shard.indices))
        else:
            images = self._images.get(shard, lambda: decode_shard(shard))
            problems = images.problems
            records = self._compute(cell, shard, images, advance)
            self.cache.save(key, records, problems)
        for problem in problems:
            if problem.sample not in self._problems:
                self._problems[problem.sample] = problem
                self.progress.notice(f"skipped {problem.sample}: {problem.reason}")
        return records, held is None

    def _compute(
        self, cell: Cell, shard: Shard, images: ShardImages, advance: Callable[[int], None]
    ) -> pd.DataFrame:
        if not images.samples:
            advance(len(shard.indices))
            return no_records()
        clean_scores: Tensor | None = None
        if cell.pipeline.name != CLEAN:
            clean, _ = self._shard_records(replace(cell, pipeline=BoundPipeline(CLEAN, ())), shard, _ignore)
            clean_scores = torch.from_numpy(clean["clean_score"].to_numpy().copy())

        def prefix(length: int, make: Callable[[], PipelineState]) -> PipelineState:
            beginning = BoundPipeline("", cell.pipeline.stages[:length])
            return self._states.get(shard_key(cell.detector, beginning, shard, cell.settings), make)

        done = 0

        def advance_part(images: int) -> None:
            # A second attack stage goes over the same images again, and those that are not attacked are never told.
            nonlocal done
            part = min(images, len(shard.indices) - done)
            done += part
            advance(part)

        records = cell.run(images, clean_scores, prefix, advance_part)
        advance_part(len(shard.indices))
        return records
