"""Trust probes of a run: choice of images and cells, with results from the cache."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.users_faults import users_faults
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.splitting import order_key
from robustbench_aigen.detectors.contract import DeployedDetector, Detector, verdicts
from robustbench_aigen.engine.batch import log_odds_of
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.estimate import work_of
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.identity import ComputeSettings, plugin_code, probe_key
from robustbench_aigen.engine.shards import Shard, decode_shard
from robustbench_aigen.engine.sizes import attack_groups, middles_of, padded
from robustbench_aigen.numerics.seeding import SampleStreams, seeded_global_rng
from robustbench_aigen.runs.timings import PROBES_STEP
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.trust.check import Check, Checks, flag_names
from robustbench_aigen.trust.flags import UNCHECKED, Measurement, RaisedFlag
from robustbench_aigen.trust.probe_images import ProbeImages
from robustbench_aigen.trust.sequential import (
    FIRST_PROBED,
    POINTS,
    PROBED,
    NextAttack,
    SecondAttack,
    Withstood,
    judge_second,
    sequential,
    survivors_to_probe,
)
from robustbench_aigen.trust.stored_quality import StoredQuality, stored_quality

_ATTACK = "attack"
"""The question of second attacks on images that withstood an attack."""
_SHARE = 0.03
"""The share of the work of a sweep that each quick second attack takes where the fewest images take less."""
_MEMORY = 256 * 1024**2
"""Bytes of decoded probe images that are kept."""


class Probed(NamedTuple):
    """A check's measurement on a detector or a cell, and the pipelines that it concerns."""

    detector: str
    pipelines: tuple[str, ...]
    flag: str
    measurement: Measurement

    def raised(self) -> Iterator[RaisedFlag]:
        """Yield the flag for every pipeline with the flag."""
        if self.measurement.raised:
            for pipeline in self.pipelines:
                yield RaisedFlag(self.flag, self.detector, pipeline, self.measurement.evidence)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``run.json``."""
        return {
            "detector": self.detector, "pipelines": list(self.pipelines), "flag": self.flag,
            **self.measurement._asdict(),
        }  # fmt: skip


class Unchecked(NamedTuple):
    """Flags that were not checked, with the pipelines and the reason."""

    detector: str
    pipelines: tuple[str, ...]
    flags: tuple[str, ...]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``run.json``."""
        return {
            "detector": self.detector, "pipelines": list(self.pipelines), "flags": list(self.flags),
            "reason": self.reason,
        }  # fmt: skip


class Probes(NamedTuple):
    """Measurements of the probes of a run, and the checks that were left out."""

    measured: list[Probed]
    unchecked: list[Unchecked]


def quality_of(shards: list[Shard]) -> StoredQuality | None:
    """Return the JPEG quality that most of the images are stored at, from a fixed sample of them."""
    rows = {sample.id: (shard, place) for shard in shards for place, sample in enumerate(shard.samples)}
    chosen = [rows[name] for name in sorted(rows, key=order_key)[:PROBED]]
    return stored_quality(shard.encoded(place) for shard, place in chosen)


class _Rung(NamedTuple):
    """A cell of a sweep over eps: its pipeline, the number of attacked images, and the survivors."""

    pipeline: Pipeline
    attacked: int
    survivors: tuple[str, ...]

    @property
    def stage(self) -> Attack:
        """The attack."""
        return self.pipeline.attacks[0]

    @property
    def held(self) -> float:
        """The share of the attacked images that withstood the attack."""
        return len(self.survivors) / self.attacked if self.attacked else 0.0

    @property
    def enough(self) -> int:
        """Largest number of survivors to attack again; 0 if no outcome could raise a flag."""
        return survivors_to_probe(len(self.survivors), self.attacked) if self.attacked else 0


@dataclass(frozen=True)
class Probing:
    """The probes of a run after its records are computed.

    Parameters
    ----------
    execution
        The execution of the run, with its cache of earlier answers and the batch sizes that fit into memory.
    shards, records
        Its images and records; these show the images that are judged right and the images that withstood an attack.
    began
        When the run began, in seconds of ``time.perf_counter``: the progress line has the share of its time.
    checks
        The checks of the run.
    """

    execution: Execution
    shards: list[Shard]
    records: pd.DataFrame
    began: float
    checks: Checks
    _images: dict[int, tuple[Sample, Tensor]] = field(default_factory=dict)
    _batches: dict[object, list[ProbeImages]] = field(default_factory=dict)

    @property
    def experiment(self) -> Experiment:
        """The experiment that was run."""
        return self.execution.experiment

    @property
    def _is_quick(self) -> bool:
        return self.experiment.scenario.trust == "quick"

    def run(self) -> Probes:
        """Probe the attacked detectors and the attacks to the depth of ``trust``."""
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
            reason = "the detector judges none of the attacked images right"
            flags = flag_names("detector", "survivors")
            done.unchecked.append(Unchecked(detector.name, names, flags, reason))
            return
        held = tuple(name for name in names if _is_held(mine[mine["pipeline"] == name]))
        measured = [
            Probed(detector.name, held if each.detector.on_survivors else names, each.name, found)
            for each, found in self._of_detector(detector, samples, mine)
        ]
        done.measured.extend(measured)
        # A detector with a flag gets the full checks.
        is_quick = self._is_quick and not any(True for each in measured for _ in each.raised())
        sweeps, others = _sweeps(following)
        if others:
            reason = "only a single L∞ or L2 attack on the detector itself is checked"
            done.unchecked.append(Unchecked(detector.name, others, flag_names("survivors"), reason))
        for sweep in sweeps:
            self._probe_sweep(detector, [_rung(mine, pipeline) for pipeline in sweep], is_quick, done)

    def _of_detector(
        self, detector: Detector, samples: list[str], records: pd.DataFrame
    ) -> Iterator[tuple[Check, Measurement]]:
        """Yield the measurements of a detector on the probe images, with their checks."""
        for each in self.checks.on("detector"):
            if not each.detector.applies(detector):
                continue
            self._tell(detector, each.name)
            found = self.checks.ask(
                each,
                lambda: self._measured(detector, each, samples, records),  # noqa: B023
                Measurement,
            )
            if found is not None:
                yield each, found
        self._batches.clear()

    def _measured(
        self, detector: Detector, each: Check, samples: list[str], records: pd.DataFrame
    ) -> Measurement:
        """Run a check on the probe images; a quick check uses only the first images if their answers are clear."""
        part = each.detector
        code = "" if each.built_in else plugin_code(type(part))
        known = part.known(records)
        looks = [samples[:FIRST_PROBED], samples] if self._is_quick and part.stepwise else [samples]
        for look in looks:
            asked = [name for name in look if name not in known]
            answers = self._answers(detector, each.name, code, part.attacks, asked, part.probe)
            given = [known[name] for name in look if name in known]
            answers = torch.cat([answers, torch.tensor(given)]) if given else answers
            if part.is_clear(answers):
                break
        return part.judge(answers)

    def _probe_sweep(self, detector: Detector, sweep: list[_Rung], is_quick: bool, done: Probes) -> None:
        """Attack the survivors again: at both ends of a sweep; in quick mode, at the largest eps with enough survivors.

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
            measured = list(self._second_attacks(detector, rung, sweep[-1].held, is_quick))
            done.measured.extend(Probed(detector.name, (name,), *each) for each in measured)
            tried.append(name)
            if is_quick and not any(each.raised for _, each in measured):
                break
        left = [rung for rung in sweep if rung.held > POINTS and rung.pipeline.name not in tried]
        done.unchecked.extend(_unchecked(detector.name, left, tried))

    def _second_attacks(
        self, detector: Detector, rung: _Rung, held_at_largest: float, is_quick: bool
    ) -> Iterator[tuple[str, Measurement]]:
        """Yield the measurements of second attacks on images that withstood an attack, by their flags."""
        withstood = Withstood(
            rung.stage, is_quick, rung.held, held_at_largest, tuple(self.experiment.pipelines)
        )
        for each in self.checks.on("survivors"):
            found = self.checks.ask(
                each,
                lambda: self._second(detector, each.parts["survivors"](withstood), rung, is_quick),  # noqa: B023
                (Measurement, type(None)),
            )
            if found is not None:
                yield each.name, found

    def _second(
        self, detector: Detector, following: NextAttack | None, rung: _Rung, is_quick: bool
    ) -> Measurement | None:
        """Attack survivors again, in looks, until the answer is clear; None if the check has no second attack."""
        if following is None:
            return None
        what, attack = following
        self._tell(detector, f"{attack.recipe.name} on the images that withstood {rung.pipeline.name}")
        test = SecondAttack(rung.held, (rung.enough,))
        if is_quick:
            first = int(_SHARE * self._work(detector, rung) / _queries(attack))
            test = sequential(rung.held, first, rung.enough)
        held: list[bool] = []
        for look in test.looks:
            asked = rung.survivors[len(held) : look]
            held += self._answers(
                detector, _ATTACK, "", (attack,), asked, lambda images: images.held(attack)
            ).tolist()
            if test.is_clear(held.count(False), len(held)):
                break
        return judge_second(what, held.count(False), len(held), test)

    def _work(self, detector: Detector, rung: _Rung) -> int:
        """Return the work of a cell's attack, in forward passes."""
        is_cell = (self.records["detector"] == detector.name) & (
            self.records["pipeline"] == rung.pipeline.name
        )
        cell = self.records[is_cell & self.records["attacked"]]
        if rung.pipeline.smaller is not None:
            # What fell at a smaller eps has the steps that it took there.
            cell = cell[cell["search_eps"] >= float(rung.stage.params["eps"] or 0) * (1 - 1e-6)]
        return int(_PASSES * cell["steps"].sum() + cell["queries"].sum())

    def _tell(self, detector: Detector, what: str) -> None:
        """Show the current probe, and the share of the time of trust checks so far."""
        rows = self.execution.steps.rows
        probing = sum(row.seconds for row in rows if row.step == PROBES_STEP)
        share = 100 * probing / max(time.perf_counter() - self.began, 1e-9)
        mode = self.experiment.scenario.trust
        self.execution.progress.work_on(
            detector.name, f"trust checks ({mode}, {share:.0f} % of the time): {what}"
        )

    def _answers(
        self,
        detector: Detector,
        question: str,
        code: str,
        attacks: tuple[Attack, ...],
        samples: Sequence[str],
        probe: Callable[[ProbeImages], Tensor],
    ) -> Tensor:
        """Return a probe's answer for each image, from the cache where possible."""
        if not samples:
            return torch.empty(0)
        images, cache = self._shard(set(samples)), self.execution.cache

        def answers(cell: Cell) -> Tensor:
            key = probe_key(detector, question, code, attacks, images, cell.settings, self.shards[0])
            held = cache.load(key)
            if held is not None:
                return torch.from_numpy(held[0]["answer"].to_numpy(copy=True))
            is_whole = question == _ATTACK
            batches = self._probe_images(detector, attacks, images, cell.settings, is_whole=is_whole)
            with users_faults(f"a trust probe of detector '{detector.name}'"), seeded_global_rng(key):
                found = torch.cat([_answer_of(probe, batch) for batch in batches])
            cache.save(key, pd.DataFrame({"answer": found.numpy()}), [])
            return found

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

    def _probe_images(
        self,
        detector: Detector,
        attacks: tuple[Attack, ...],
        shard: Shard,
        settings: ComputeSettings,
        *,
        is_whole: bool,
    ) -> list[ProbeImages]:
        """Return the decoded images that fit into one batch of the attacks; checks with equal images share them.

        Checks of a detector take the middles of large images, and as labels the verdicts on them: whole photographs of
        many megapixels take minutes and gigabytes.
        """
        asked = detector.name, attacks, shard.indices, settings, is_whole
        if asked not in self._batches:
            self._batches.clear()
            samples, levels = self._decoded(shard)
            seen = levels if is_whole else middles_of(levels, detector, self.experiment.device)
            labels = [sample.label for sample in samples]
            if seen is not levels:
                names = [sample.id for sample in samples]
                odds = log_odds_of(detector, seen, names, settings.batch_size, self.experiment.device)
                labels = verdicts(odds, settings.threshold).tolist()
            groups = attack_groups(attacks, detector, None, seen, range(len(seen)))
            self._batches[asked] = [
                self._batch(
                    detector,
                    [samples[row] for row in rows],
                    [seen[row] for row in rows],
                    [labels[row] for row in rows],
                    settings,
                )
                for rows in groups
            ]
        return self._batches[asked]

    def _batch(
        self,
        detector: Detector,
        samples: list[Sample],
        levels: list[Tensor],
        labels: list[int],
        settings: ComputeSettings,
    ) -> ProbeImages:
        stack, sizes = padded(levels)
        return ProbeImages(
            DeployedDetector(detector, settings.threshold),
            stack,
            torch.tensor(labels),
            SampleStreams(settings.seed, tuple(sample.id for sample in samples), 0),
            settings.batch_size,
            self.experiment.device,
            settings.precision,
            sizes,
        )

    def _decoded(self, shard: Shard) -> tuple[list[Sample], list[Tensor]]:
        """Return the samples of a shard and their images, cached because several probes use the same images."""
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


def _answer_of(probe: Callable[[ProbeImages], Tensor], images: ProbeImages) -> Tensor:
    answers = probe(images)
    if not isinstance(answers, Tensor) or answers.shape != (len(images),):
        shape = list(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
        raise TypeError(
            f"probe returned {shape} for {len(images)} images, expected a tensor of [{len(images)}]"
        )
    return answers.detach().cpu()


_PASSES = 3
"""Forward passes that cost as much as one gradient."""


def _queries(stage: Attack) -> int:
    """Return the work of an attack per image, in forward passes."""
    work = work_of(stage)
    return max(1, _PASSES * work.gradients + work.queries)


def _unchecked(detector: str, rungs: Sequence[_Rung], tried: Sequence[str]) -> Iterator[Unchecked]:
    """Yield which cells of a sweep were not attacked again, and why."""
    for may_tell in (True, False):
        names = tuple(rung.pipeline.name for rung in rungs if (rung.enough > 0) is may_tell)
        reason = (
            f"checked at {' and '.join(tried)}"
            if may_tell
            else "the accuracy is too low for a clear change by a second attack"
        )
        if names:
            yield Unchecked(detector, names, flag_names("survivors"), reason)


def _switch_off(detector: str, pipelines: tuple[str, ...], done: Probes) -> None:
    """Raise the flag ``unchecked``, because `ok` needs probes."""
    evidence = "the scenario or the command line says trust: off"
    done.measured.append(Probed(detector, pipelines, UNCHECKED.name, Measurement(True, evidence)))
    flags = flag_names("detector", "survivors")
    done.unchecked.append(Unchecked(detector, pipelines, flags, "trust: off"))


def _right_images(cell: pd.DataFrame) -> list[str]:
    """Return the ids of probe images: judged right, from the attacked classes, as balanced as possible."""
    right = cell[cell["attacked"] & cell["correct_clean"]]
    by_class = [sorted(rows["sample"], key=order_key) for _, rows in right.groupby("label")]
    # The next of each class in turn.
    turns = sorted((turn, order_key(name), name) for names in by_class for turn, name in enumerate(names))
    return [name for _, _, name in turns[:PROBED]]


def _is_held(cell: pd.DataFrame) -> bool:
    """Whether an attacked image of a cell is still judged right."""
    return bool((cell["attacked"] & cell["correct"]).any())


def _rung(records: pd.DataFrame, pipeline: Pipeline) -> _Rung:
    """Return a cell with what withstood its attack, in a fixed random order."""
    cell = records[(records["pipeline"] == pipeline.name) & records["attacked"] & records["correct_clean"]]
    return _Rung(pipeline, len(cell), tuple(sorted(cell.loc[cell["correct"], "sample"], key=order_key)))


def _follows_gradients(pipeline: Pipeline) -> bool:
    """Whether an attack of a pipeline follows the detector's own gradients."""
    return any(stage.recipe.access == "gradients" and stage.surrogate is None for stage in pipeline.attacks)


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
