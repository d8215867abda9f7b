"""Probes the detectors of a run: which images, which cells, from the cache where they were probed before."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch

from robustbench_aigen.attacks.users_faults import users_faults
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.identity import Settings, probe_key
from robustbench_aigen.engine.plan import Plan
from robustbench_aigen.engine.shards import Shard, decode_shard
from robustbench_aigen.engine.sizes import attack_groups, padded
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.seeding import SampleStreams, seeded_global_rng
from robustbench_aigen.scenario.cells import BoundPipeline, BoundStage
from robustbench_aigen.trust import probes
from robustbench_aigen.trust.findings import Raised
from robustbench_aigen.trust.judgement import (
    PROBED,
    Measurement,
    judge_cell,
    judge_detector,
    survivors_to_probe,
)
from robustbench_aigen.trust.probes import ProbeImages
from robustbench_aigen.trust.stored_quality import StoredQuality, stored_quality


class Probed(NamedTuple):
    """What was measured on a detector or on one of its cells, and the pipelines that it speaks of."""

    detector: str
    pipelines: tuple[str, ...]
    measurement: Measurement

    def raised(self) -> Iterator[Raised]:
        """Yield the flag for every pipeline that it is raised on."""
        if self.measurement.raised:
            for pipeline in self.pipelines:
                yield Raised(self.measurement.flag, self.detector, pipeline, self.measurement.evidence)

    def as_dict(self) -> dict[str, Any]:
        """Return what stands in ``run.json``."""
        return {"detector": self.detector, "pipelines": list(self.pipelines), **self.measurement._asdict()}


def quality_of(shards: list[Shard]) -> StoredQuality | None:
    """Return the JPEG quality that most of the images are stored at, from a fixed sample of them."""
    rows = {sample.id: (shard, place) for shard in shards for place, sample in enumerate(shard.samples)}
    chosen = [rows[name] for name in sorted(rows, key=order_key)[:PROBED]]
    return stored_quality(shard.encoded(place) for shard, place in chosen)


@dataclass(frozen=True)
class Probing:
    """Probes after the records are there.

    Parameters
    ----------
    execution
        What was run, with its cache of earlier answers and the batch sizes that there is memory for.
    shards, records
        Its images and records: they say what the detectors get right, and what withstood an attack.
    """

    execution: Execution
    shards: list[Shard]
    records: pd.DataFrame

    @property
    def plan(self) -> Plan:
        """The plan that was run."""
        return self.execution.plan

    def run(self) -> list[Probed]:
        """Probe every detector that is attacked with gradients, and of every sweep its smallest and largest eps."""
        following = [pipeline for pipeline in self.plan.pipelines if _follows_gradients(pipeline)]
        found: list[Probed] = []
        if not following:
            return found
        names = tuple(pipeline.name for pipeline in following)
        self.execution.progress.start(0)
        for detector in self.plan.detectors:
            with self.execution.steps.timed("trust probes", detector.name):
                found += self._probed(detector, following, names)
        return found

    def _probed(
        self, detector: Detector, following: list[BoundPipeline], names: tuple[str, ...]
    ) -> list[Probed]:
        """Probe one detector, and its cells under the attacks that follow gradients."""
        mine = self.records[self.records["detector"] == detector.name]
        answers = self._detector_answers(detector, mine[mine["pipeline"] == names[0]])
        if answers is None:
            return []
        found = [Probed(detector.name, names, measured) for measured in judge_detector(answers)]
        for pipeline in _ends_of_sweeps(following):
            cell = mine[(mine["pipeline"] == pipeline.name) & mine["attacked"] & mine["correct_clean"]]
            survivors = cell[cell["correct"]]
            count = survivors_to_probe(len(survivors), len(cell))
            if count:
                answers = self._cell_answers(detector, pipeline, survivors["sample"].tolist(), count)
                held = len(survivors) / len(cell)
                found += [Probed(detector.name, (pipeline.name,), m) for m in judge_cell(answers, held)]
        return found

    def _detector_answers(self, detector: Detector, cell: pd.DataFrame) -> pd.DataFrame | None:
        """Probe images of the attacked classes that the detector gets right, as many of each as there are."""
        right = cell[cell["attacked"] & cell["correct_clean"]]
        by_class = [sorted(rows["sample"], key=order_key) for _, rows in right.groupby("label")]
        # The next of each class in turn, so that the classes are as even as can be.
        turns = sorted((turn, order_key(name), name) for names in by_class for turn, name in enumerate(names))
        if not turns:
            return None
        unbounded = probes.unbounded_attack()
        samples = [name for _, _, name in turns[:PROBED]]
        return self._answers(detector, (unbounded,), samples, probes.probe_detector)

    def _cell_answers(
        self, detector: Detector, pipeline: BoundPipeline, survivors: list[str], count: int
    ) -> pd.DataFrame:
        (stage,) = pipeline.stages
        probe = partial(probes.probe_cell, stage=stage)
        samples = sorted(survivors, key=order_key)[:count]
        return self._answers(detector, (stage, probes.black_box(stage)), samples, probe)

    def _answers(
        self,
        detector: Detector,
        attacks: tuple[BoundStage, ...],
        samples: list[str],
        probe: Callable[[ProbeImages], dict[str, torch.Tensor]],
    ) -> pd.DataFrame:
        """Return a row per image of a probe's answers, from the cache where they are."""
        images, cache = self._shard(set(samples)), self.execution.cache
        while True:
            cell = self.execution.limited(self.plan.cell(detector, self.plan.pipelines[0]))
            key = probe_key(detector, attacks, images, cell.settings)
            held = cache.load(key)
            if held is not None:
                return held[0]
            self.execution.progress.work_on(detector.name, "trust probes")
            batches = self._batches(detector, attacks, images, cell.settings)
            try:
                with users_faults(f"a trust probe of detector '{detector.name}'"), seeded_global_rng(key):
                    frame = pd.concat([pd.DataFrame(probe(batch)) for batch in batches])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.execution.halve_batch(cell)
                continue
            cache.save(key, frame, [])
            return frame

    def _shard(self, wanted: set[str]) -> Shard:
        rows = [
            (index, digest)
            for shard in self.shards
            for index, sample, digest in zip(shard.indices, shard.samples, shard.hashes, strict=True)
            if sample.id in wanted
        ]
        return Shard(self.plan.selection, tuple(i for i, _ in rows), tuple(digest for _, digest in rows))

    def _batches(
        self, detector: Detector, attacks: tuple[BoundStage, ...], shard: Shard, settings: Settings
    ) -> Iterator[ProbeImages]:
        """Decode the images and yield those that the attacks take together."""
        images = decode_shard(shard)
        for rows in attack_groups(attacks, detector, None, images.levels, range(len(images.levels))):
            stack, sizes = padded([images.levels[row] for row in rows])
            yield ProbeImages(
                DeployedDetector(detector, settings.threshold),
                stack,
                torch.tensor([images.samples[row].label for row in rows]),
                SampleStreams(settings.seed, tuple(images.samples[row].id for row in rows), 0),
                settings.batch_size,
                self.plan.device,
                settings.precision,
                sizes,
            )


def _follows_gradients(pipeline: BoundPipeline) -> bool:
    """Whether an attack of a pipeline follows the detector's own gradients."""
    attacks = [stage for stage in pipeline.stages if stage.kind == "attack"]
    return any(stage.recipe.access == "gradients" and stage.surrogate is None for stage in attacks)


def _ends_of_sweeps(pipelines: list[BoundPipeline]) -> list[BoundPipeline]:
    """Return the pipelines of one attack that have the smallest or the largest eps of their sweep.

    Where something stands before or after the attack, what withstood the pipeline is not what withstood the attack.
    """
    sweeps: dict[str, list[BoundPipeline]] = defaultdict(list)
    for pipeline in pipelines:
        first = pipeline.stages[0]
        stage = first.as_dict()
        if (
            len(pipeline.stages) == 1
            and stage.get("norm") in ("linf", "l2")
            and not (first.through or first.surrogate)
        ):
            rest = {name: value for name, value in stage.items() if name not in ("eps", "step_size")}
            sweeps[repr(rest)].append(pipeline)
    chosen = []
    for sweep in sweeps.values():
        sweep.sort(key=lambda pipeline: float(pipeline.stages[0].params["eps"] or 0))
        chosen += [sweep[0], sweep[-1]] if len(sweep) > 1 else sweep
    return chosen
