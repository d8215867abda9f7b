"""Probes the detectors of a run: which images, which cells, from the cache where they were probed before."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.users_faults import users_faults
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.estimate import work_of
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.identity import Settings, probe_key
from robustbench_aigen.engine.shards import Shard, decode_shard
from robustbench_aigen.engine.sizes import attack_groups, padded
from robustbench_aigen.numerics.seeding import SampleStreams, seeded_global_rng
from robustbench_aigen.runs.timings import PROBES_STEP
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Stage
from robustbench_aigen.trust import probes
from robustbench_aigen.trust.flags import (
    BLACK_BOX,
    PROBES_OF_ATTACKS,
    PROBES_OF_DETECTORS,
    STILL_RISING,
    UNCHECKED,
    Finding,
    Raised,
)
from robustbench_aigen.trust.judgement import (
    FIRST_PROBED,
    PROBED,
    Measurement,
    judge_gradients,
    judge_second,
    judge_steps,
    judge_unbounded,
    survivors_to_probe,
)
from robustbench_aigen.trust.probes import ProbeImages
from robustbench_aigen.trust.sequential import POINTS, SecondAttack, sequential
from robustbench_aigen.trust.stored_quality import StoredQuality, stored_quality

_SHARE = 0.03
"""The share of the work of a sweep that each quick second attack takes where the fewest images take less."""
_MEMORY = 256 * 1024**2
"""Bytes of decoded probe images that are kept."""


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


class Unchecked(NamedTuple):
    """Flags that were not looked for, on which pipelines of a detector, and why."""

    detector: str
    pipelines: tuple[str, ...]
    flags: tuple[str, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return what stands in ``run.json``."""
        return {
            "detector": self.detector, "pipelines": list(self.pipelines), "flags": list(self.flags),
            "reason": self.reason,
        }  # fmt: skip


class Probes(NamedTuple):
    """What the probes of a run measured, and what they did not look at."""

    measured: list[Probed]
    unchecked: list[Unchecked]


def quality_of(shards: list[Shard]) -> StoredQuality | None:
    """Return the JPEG quality that most of the images are stored at, from a fixed sample of them."""
    rows = {sample.id: (shard, place) for shard in shards for place, sample in enumerate(shard.samples)}
    chosen = [rows[name] for name in sorted(rows, key=order_key)[:PROBED]]
    return stored_quality(shard.encoded(place) for shard, place in chosen)


class _Rung(NamedTuple):
    """A cell of a sweep over eps: its pipeline, how many images were attacked, and those that withstood it."""

    pipeline: Pipeline
    attacked: int
    survivors: tuple[str, ...]

    @property
    def stage(self) -> Stage:
        """The attack."""
        return self.pipeline.stages[0]

    @property
    def held(self) -> float:
        """The share of the attacked images that withstood the attack."""
        return len(self.survivors) / self.attacked if self.attacked else 0.0

    @property
    def enough(self) -> int:
        """How many survivors to attack again at most; 0 where no outcome could be a flag."""
        return survivors_to_probe(len(self.survivors), self.attacked) if self.attacked else 0


@dataclass(frozen=True)
class Probing:
    """Probes after the records are there.

    Parameters
    ----------
    execution
        What was run, with its cache of earlier answers and the batch sizes that there is memory for.
    shards, records
        Its images and records: they say what the detectors get right, and what withstood an attack.
    began
        When the run began, in seconds of ``time.perf_counter``: the progress line has the share of its time.
    """

    execution: Execution
    shards: list[Shard]
    records: pd.DataFrame
    began: float
    _images: dict[int, tuple[Sample, Tensor]] = field(default_factory=dict)

    @property
    def experiment(self) -> Experiment:
        """The experiment that was run."""
        return self.execution.experiment

    @property
    def _is_quick(self) -> bool:
        return self.experiment.scenario.trust == "quick"

    def run(self) -> Probes:
        """Probe every detector that is attacked with gradients, and the attacks, as far as ``trust`` says."""
        following = [pipeline for pipeline in self.experiment.pipelines if _follows_gradients(pipeline)]
        done = Probes([], [])
        if not following:
            return done
        names = tuple(pipeline.name for pipeline in following)
        self.execution.progress.start(0)
        for detector in self.experiment.detectors:
            if self.experiment.scenario.trust == "off":
                _switch_off(detector.name, names, done)
                continue
            with self.execution.steps.timed(PROBES_STEP, detector.name):
                self._probe(detector, following, done)
        return done

    def _probe(self, detector: Detector, following: list[Pipeline], done: Probes) -> None:
        """Probe one detector, and its cells under the attacks that follow gradients."""
        mine = self.records[self.records["detector"] == detector.name]
        names = tuple(pipeline.name for pipeline in following)
        samples = _right_images(mine[mine["pipeline"] == names[0]])
        if not samples:
            reason = "the detector gets none of the attacked images right"
            flags = (*PROBES_OF_DETECTORS, *PROBES_OF_ATTACKS)
            done.unchecked.append(Unchecked(detector.name, names, flags, reason))
            return
        measured = list(self._of_detector(detector, samples, _fooled_nearby(mine)))
        done.measured.extend(Probed(detector.name, names, each) for each in measured)
        # What already speaks against a detector is worth a closer look.
        is_quick = self._is_quick and not any(each.raised for each in measured)
        sweeps, others = _sweeps(following)
        if others:
            reason = "the pipeline is more than one attack on the detector itself, L∞ or L2"
            done.unchecked.append(Unchecked(detector.name, others, PROBES_OF_ATTACKS, reason))
        for sweep in sweeps:
            self._probe_sweep(detector, [_rung(mine, pipeline) for pipeline in sweep], is_quick, done)

    def _of_detector(self, detector: Detector, samples: list[str], fooled: set[str]) -> Iterator[Measurement]:
        """Yield what the probe images show of a detector; quick, on the first of them where these are clear."""
        self._tell(detector, "gradients")
        yield from judge_gradients(self._answers(detector, "gradients", (), samples, probes.probe_gradients))
        looks = [samples[:FIRST_PROBED], samples] if self._is_quick else [samples]
        unbounded = probes.unbounded_attack()
        for look in looks:
            informed = self._answers(detector, "steps", (unbounded,), look, probes.probe_steps)["informed"]
            if informed.all():
                break
        yield judge_steps(informed)
        self._tell(detector, "unbounded attack")
        for look in looks:
            # What an attack of the run has fooled with less falls with more, too.
            left = [name for name in look if name not in fooled]
            held = self._held(detector, unbounded, left)
            if not held.any():
                break
        known = len(look) - len(left)
        yield judge_unbounded(pd.Series([*held, *[False] * known], dtype=bool), known)

    def _probe_sweep(self, detector: Detector, sweep: list[_Rung], is_quick: bool, done: Probes) -> None:
        """Attack again what withstood an attack: at both ends of a sweep; quick, at the largest eps that can tell.

        Where that raises a flag, the smallest eps is tried as well.

        Parameters
        ----------
        sweep
            The cells of one attack, from the smallest eps to the largest.
        """
        useful = [rung for rung in sweep if rung.enough]
        ends = [useful[-1], useful[0]] if is_quick and useful else [sweep[0], sweep[-1]]
        tried: list[str] = []
        for rung in ends:
            name = rung.pipeline.name
            if name in tried or not rung.enough:
                continue
            # Gradients that lead to nearly every image at a larger eps are not masked.
            needs_black_box = not is_quick or sweep[-1].held > POINTS
            measured = list(self._second_attacks(detector, rung, is_quick, needs_black_box))
            done.measured.extend(Probed(detector.name, (name,), each) for each in measured)
            tried.append(name)
            if is_quick and not any(each.raised for each in measured):
                break
        left = [rung for rung in sweep if rung.held > POINTS and rung.pipeline.name not in tried]
        done.unchecked.extend(_unchecked(detector.name, left, tried))

    def _second_attacks(
        self, detector: Detector, rung: _Rung, is_quick: bool, needs_black_box: bool
    ) -> Iterator[Measurement]:
        """Yield what more steps and a black box do to what withstood an attack, where these are not in the run."""
        more = probes.more_steps(rung.stage, quick=is_quick)
        if more is not None:
            yield self._second(detector, STILL_RISING, "five times the steps", more, rung, is_quick)
        box = probes.black_box(rung.stage, quick=is_quick)
        if box is not None and needs_black_box and not self._has(box):
            what = f"{box.params['steps']} queries of Square, without gradients,"
            yield self._second(detector, BLACK_BOX, what, box, rung, is_quick)

    def _second(
        self,
        detector: Detector,
        finding: Finding,
        what: str,
        attack: Stage,
        rung: _Rung,
        is_quick: bool,
    ) -> Measurement:
        """Attack survivors again, in looks, until the answer is clear."""
        self._tell(detector, f"{attack.recipe.name} on what withstood {rung.pipeline.name}")
        test = SecondAttack(rung.held, (rung.enough,))
        if is_quick:
            first = int(_SHARE * self._work(detector, rung) / _queries(attack))
            test = sequential(rung.held, first, rung.enough)
        held: list[bool] = []
        for look in test.looks:
            held += self._held(detector, attack, rung.survivors[len(held) : look]).tolist()
            if test.is_clear(held.count(False), len(held)):
                break
        return judge_second(finding, what, held.count(False), len(held), test)

    def _work(self, detector: Detector, rung: _Rung) -> int:
        """Return what the attack of a cell asked the detector, in forward passes."""
        is_cell = (self.records["detector"] == detector.name) & (
            self.records["pipeline"] == rung.pipeline.name
        )
        cell = self.records[is_cell & self.records["attacked"]]
        if rung.pipeline.smaller is not None:
            # What fell at a smaller eps has the steps that it took there.
            cell = cell[cell["search_eps"] >= float(rung.stage.params["eps"] or 0) * (1 - 1e-6)]
        return int(_PASSES * cell["steps"].sum() + cell["queries"].sum())

    def _has(self, black_box: Stage) -> bool:
        """Whether the run itself tries a black box, and compares all images with it."""
        return any(
            len(pipeline.stages) == 1 and probes.includes(pipeline.stages[0], black_box)
            for pipeline in self.experiment.pipelines
        )

    def _held(self, detector: Detector, attack: Stage, samples: Sequence[str]) -> "pd.Series[bool]":
        """Return which images withstand an attack."""
        if not samples:
            return pd.Series([], dtype=bool)
        probe = partial(probes.probe_attack, stage=attack)
        return self._answers(detector, "attack", (attack,), samples, probe)["held"]

    def _tell(self, detector: Detector, what: str) -> None:
        """Name what is probed, and the share of the time so far that trust checks have taken."""
        rows = self.execution.steps.rows
        probing = sum(row["seconds"] for row in rows if row["step"] == PROBES_STEP)
        share = 100 * probing / max(time.perf_counter() - self.began, 1e-9)
        mode = self.experiment.scenario.trust
        self.execution.progress.work_on(
            detector.name, f"trust checks ({mode}, {share:.0f} % of the time): {what}"
        )

    def _answers(
        self,
        detector: Detector,
        question: str,
        attacks: tuple[Stage, ...],
        samples: Sequence[str],
        probe: Callable[[ProbeImages], dict[str, Tensor]],
    ) -> pd.DataFrame:
        """Return a row per image of a probe's answers, from the cache where they are."""
        images, cache = self._shard(set(samples)), self.execution.cache

        def answers(cell: Cell) -> pd.DataFrame:
            key = probe_key(detector, question, attacks, images, cell.settings, self.shards[0])
            held = cache.load(key)
            if held is not None:
                return held[0]
            batches = self._batches(detector, attacks, images, cell.settings)
            with users_faults(f"a trust probe of detector '{detector.name}'"), seeded_global_rng(key):
                frame = pd.concat([pd.DataFrame(probe(batch)) for batch in batches])
            cache.save(key, frame, [])
            return frame

        cell = self.experiment.cell(detector, self.experiment.pipelines[0])
        return self.execution.within_memory(cell, answers)[0]

    def _shard(self, wanted: set[str]) -> Shard:
        rows = [
            (index, digest)
            for shard in self.shards
            for index, sample, digest in zip(shard.indices, shard.samples, shard.hashes, strict=True)
            if sample.id in wanted
        ]
        return Shard(
            self.experiment.selection, tuple(i for i, _ in rows), tuple(digest for _, digest in rows)
        )

    def _batches(
        self, detector: Detector, attacks: tuple[Stage, ...], shard: Shard, settings: Settings
    ) -> Iterator[ProbeImages]:
        """Decode the images and yield those that the attacks take together."""
        samples, levels = self._decoded(shard)
        for rows in attack_groups(attacks, detector, None, levels, range(len(levels))):
            stack, sizes = padded([levels[row] for row in rows])
            yield ProbeImages(
                DeployedDetector(detector, settings.threshold),
                stack,
                torch.tensor([samples[row].label for row in rows]),
                SampleStreams(settings.seed, tuple(samples[row].id for row in rows), 0),
                settings.batch_size,
                self.experiment.device,
                settings.precision,
                sizes,
            )

    def _decoded(self, shard: Shard) -> tuple[list[Sample], list[Tensor]]:
        """Return the samples of a shard and their images: one probe after the other asks for the same."""
        hashes = {i: h for i, h in zip(shard.indices, shard.hashes, strict=True) if i not in self._images}
        found = dict(self._images)
        if hashes:
            images = decode_shard(Shard(shard.selection, tuple(hashes), tuple(hashes.values())))
            found |= dict(zip(hashes, zip(images.samples, images.levels, strict=True), strict=True))
            self._images.clear()
            if sum(levels.numel() for _, levels in found.values()) <= _MEMORY:
                self._images.update(found)
        samples, levels = zip(*(found[index] for index in shard.indices), strict=True)
        return list(samples), list(levels)


_PASSES = 3
"""Forward passes that cost as much as one gradient."""


def _queries(stage: Stage) -> int:
    """Return what an attack asks a detector of an image, in forward passes."""
    work = work_of(stage)
    return max(1, _PASSES * work.gradients + work.queries)


def _unchecked(detector: str, rungs: Sequence[_Rung], tried: Sequence[str]) -> Iterator[Unchecked]:
    """Yield which cells of a sweep were not attacked again, and why."""
    for may_tell in (True, False):
        names = tuple(rung.pipeline.name for rung in rungs if (rung.enough > 0) is may_tell)
        reason = (
            f"checked at {' and '.join(tried)}"
            if may_tell
            else "too little accuracy is left for a second attack to change it clearly"
        )
        if names:
            yield Unchecked(detector, names, PROBES_OF_ATTACKS, reason)


def _switch_off(detector: str, pipelines: tuple[str, ...], done: Probes) -> None:
    """Note that nothing is probed, and flag it: without the probes `ok` would say too much."""
    evidence = "the scenario or the command line says trust: off"
    done.measured.append(Probed(detector, pipelines, Measurement(UNCHECKED.flag, True, evidence)))
    flags = (*PROBES_OF_DETECTORS, *PROBES_OF_ATTACKS)
    done.unchecked.append(Unchecked(detector, pipelines, flags, "trust: off"))


def _right_images(cell: pd.DataFrame) -> list[str]:
    """Return the ids of probe images of the attacked classes that the detector gets right, both as even as can be."""
    right = cell[cell["attacked"] & cell["correct_clean"]]
    by_class = [sorted(rows["sample"], key=order_key) for _, rows in right.groupby("label")]
    # The next of each class in turn.
    turns = sorted((turn, order_key(name), name) for names in by_class for turn, name in enumerate(names))
    return [name for _, _, name in turns[:PROBED]]


def _fooled_nearby(records: pd.DataFrame) -> set[str]:
    """Return the images that some attack has fooled a detector on, no further away than the unbounded one goes."""
    budget = float(probes.unbounded_attack().params["eps"] or 0)
    plain = records["attacked"] & records["correct_clean"] & (records["linf"] <= budget)
    return set(records.loc[plain & ~records["correct"], "sample"])


def _rung(records: pd.DataFrame, pipeline: Pipeline) -> _Rung:
    """Return a cell with what withstood its attack, in a fixed random order."""
    cell = records[(records["pipeline"] == pipeline.name) & records["attacked"] & records["correct_clean"]]
    return _Rung(pipeline, len(cell), tuple(sorted(cell.loc[cell["correct"], "sample"], key=order_key)))


def _follows_gradients(pipeline: Pipeline) -> bool:
    """Whether an attack of a pipeline follows the detector's own gradients."""
    attacks = [stage for stage in pipeline.stages if stage.kind == "attack"]
    return any(stage.recipe.access == "gradients" and stage.surrogate is None for stage in attacks)


def _sweeps(pipelines: list[Pipeline]) -> tuple[list[list[Pipeline]], tuple[str, ...]]:
    """Return the pipelines of each attack by growing eps, and the names of those that are more than one attack.

    Where something stands before or after the attack, what withstood the pipeline is not what withstood the attack.
    """
    sweeps: dict[str, list[Pipeline]] = defaultdict(list)
    others = []
    for pipeline in pipelines:
        first = pipeline.stages[0]
        stage = first.to_dict()
        if (
            len(pipeline.stages) == 1
            and stage.get("norm") in ("linf", "l2")
            and not (first.through or first.surrogate)
        ):
            rest = {name: value for name, value in stage.items() if name not in ("eps", "step_size")}
            sweeps[repr(rest)].append(pipeline)
        else:
            others.append(pipeline.name)
    for sweep in sweeps.values():
        sweep.sort(key=lambda pipeline: float(pipeline.stages[0].params["eps"] or 0))
    return list(sweeps.values()), tuple(others)
