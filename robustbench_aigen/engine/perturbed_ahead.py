"""Perturbs the images of the next cell while the network works on the present cell."""

import json
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import takewhile
from types import TracebackType
from typing import Self

from torch import Tensor

from robustbench_aigen.engine.cell import Cell, perturbed
from robustbench_aigen.engine.shards import ShardImages
from robustbench_aigen.numerics.memory import BoundedCache
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.numerics.threads import thread_count
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Perturbation, Stage

_MEMORY = 256 * 1024**2
"""Bytes of perturbed images that a shard keeps; cells of other detectors use the same images."""


class PerturbedAhead:
    """Images of a shard after the perturbations that a pipeline begins with, for the cells of all detectors.

    Such images do not depend on the detector. Only perturbations of the package count: others may read the global
    random generators, which are seeded for each cell. The result does not depend on the work ahead.
    """

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="perturbing")
        self._coming: dict[str, Future[list[Tensor]]] = {}
        self._kept: BoundedCache[list[Tensor]] = BoundedCache(
            _MEMORY, lambda levels: sum(image.numel() for image in levels)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(cancel_futures=True)

    def prepare(self, cell: Cell, images: ShardImages) -> None:
        """Start the leading perturbations of a cell in the background; with one thread, leave them to the cell."""
        length = _leading(cell.pipeline)
        if length == 0 or thread_count() == 1 or len(self._coming) > 1:
            return  # The images of the present cell and of the next one are enough.
        key = _key(cell, length)
        if key not in self._kept and key not in self._coming:
            self._coming[key] = self._worker.submit(_applied, cell, length, images)

    def take(self, cell: Cell, length: int, images: ShardImages) -> list[Tensor] | None:
        """Return the images after the first ``length`` stages of a cell; None if other stages are among these.

        Raises
        ------
        Exception
            As the perturbation does.
        """
        if length != _leading(cell.pipeline):
            return None
        key = _key(cell, length)
        coming = self._coming.pop(key, None)
        return self._kept.get(key, coming.result if coming else lambda: _applied(cell, length, images))

    def clear(self) -> None:
        """Release the images, after the work on them has ended."""
        wait([coming for coming in self._coming.values() if not coming.cancel()])
        self._coming.clear()
        self._kept.clear()


def _leading(pipeline: Pipeline) -> int:
    """Return the number of stages at the beginning that are perturbations of the package."""
    return sum(1 for _ in takewhile(_is_shipped, pipeline.stages))


def _is_shipped(stage: Stage) -> bool:
    return isinstance(stage, Perturbation) and all(
        each.recipe.implementation.startswith("robustbench_aigen.") for each in stage.operations
    )


def _key(cell: Cell, length: int) -> str:
    called = [
        [
            stage.mask,
            *(
                [each.recipe.implementation, each.recipe.random, each.recipe.arguments(each.params)]
                for each in stage.operations
            ),
        ]
        for stage in cell.pipeline.stages[:length]
        if isinstance(stage, Perturbation)
    ]
    return json.dumps([called, cell.settings.seed, cell.settings.batch_size])


def _applied(cell: Cell, length: int, images: ShardImages) -> list[Tensor]:
    levels, names = images.levels, tuple(sample.id for sample in images.samples)
    for position, stage in enumerate(cell.pipeline.stages[:length]):
        assert isinstance(stage, Perturbation)
        streams = SampleStreams(cell.settings.seed, names, position)
        levels = perturbed(stage, levels, streams, cell.settings.batch_size)
    return levels
