"""One cell on one shard: images through the stages of a pipeline, then the verdict on 8 bits in float32."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import run_attack, threat_of
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.threat_model import level_distances
from robustbench_aigen.detectors.contract import FAKE, REAL, DeployedDetector, Detector, predict, verdicts
from robustbench_aigen.engine.identity import Settings
from robustbench_aigen.engine.shards import ShardImages
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.scenario.cells import BoundPipeline, BoundStage

_ATTACKED_LABELS = {"both": (REAL, FAKE), "fake_to_real": (FAKE,), "real_to_fake": (REAL,)}
RECORD_DTYPES = {
    "sample": "str",
    "generator": "str",
    "label": "int8",
    "clean_score": "float32",
    "score": "float32",
    "threshold": "float64",
    "attacked": "bool",
    "correct_clean": "bool",
    "correct": "bool",
    "correct_float": "boolean",
    "linf": "float32",
    "l2": "float32",
    "steps": "int32",
    "queries": "int32",
    "sha256": "str",
}
"""Columns of the records of a shard; the run adds ``detector`` and ``pipeline`` before them."""


def no_records() -> pd.DataFrame:
    """Return the records of a shard of which no image could be read."""
    return pd.DataFrame({name: [] for name in RECORD_DTYPES}).astype(RECORD_DTYPES)


@dataclass
class PipelineState:
    """Images on their way through a pipeline, with what the attacks have noted of each.

    ``score`` are the scores of the images as they are, None where nobody has scored them yet.
    """

    levels: list[Tensor]
    score: Tensor | None
    attacked: Tensor
    correct_float: Tensor
    linf: Tensor
    l2: Tensor
    steps: Tensor
    queries: Tensor

    @classmethod
    def before(cls, levels: list[Tensor], score: Tensor | None) -> "PipelineState":
        """Return the state before the first stage, with the scores of the source images where they are known."""
        count = len(levels)
        return cls(
            list(levels),
            score,
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count, dtype=torch.bool),
            torch.zeros(count),
            torch.zeros(count),
            torch.zeros(count, dtype=torch.long),
            torch.zeros(count, dtype=torch.long),
        )

    @property
    def bytes(self) -> int:
        """Memory of the images."""
        return sum(image.numel() for image in self.levels)


@dataclass(frozen=True)
class Cell:
    """A detector, a pipeline and the settings that its records depend on."""

    detector: Detector
    pipeline: BoundPipeline
    settings: Settings
    device: torch.device

    def run(
        self,
        images: ShardImages,
        clean_scores: Tensor | None,
        prefix: Callable[[int, Callable[[], PipelineState]], PipelineState],
        advance: Callable[[int], None],
    ) -> pd.DataFrame:
        """Compute the records of one shard.

        Parameters
        ----------
        images
            The decoded shard.
        clean_scores
            Scores of its images in the clean cell; None in the clean cell itself.
        prefix
            Memo of the images after the first ``length`` stages: ``prefix(length, make)``. Sweeps over a later
            stage share the attack before it.
        advance
            Told how many more images an attack has finished.
        """
        labels = torch.tensor([sample.label for sample in images.samples])
        source = PipelineState.before(images.levels, clean_scores)
        state = self._through(source, images, labels, len(self.pipeline.stages), prefix, advance)
        score = self.score(state.levels) if state.score is None else state.score
        clean = score if clean_scores is None else clean_scores
        correct = verdicts(score, self.settings.threshold) == labels
        if not self.pipeline.attack_positions:
            linf, l2 = _difference(images.levels, state.levels)
            state = replace(state, linf=linf, l2=l2)
        columns = {
            "sample": [sample.id for sample in images.samples],
            "generator": [sample.generator for sample in images.samples],
            "label": labels.numpy(),
            "clean_score": clean.numpy(),
            "score": score.numpy(),
            "threshold": self.settings.threshold,
            "attacked": state.attacked.numpy(),
            "correct_clean": (verdicts(clean, self.settings.threshold) == labels).numpy(),
            "correct": correct.numpy(),
            "correct_float": self._correct_float(state, correct),
            "linf": state.linf.numpy(),
            "l2": state.l2.numpy(),
            "steps": state.steps.numpy(),
            "queries": state.queries.numpy(),
            "sha256": images.hashes,
        }
        return pd.DataFrame(columns).astype(RECORD_DTYPES)

    def score(self, levels: list[Tensor]) -> Tensor:
        """Score uint8 images of any sizes, in float32, in fixed batches of one size."""
        result = torch.empty(len(levels))
        for rows in _same_size(levels, range(len(levels))):
            stack = torch.stack([levels[row] for row in rows])
            result[rows] = predict(self.detector, stack, self.settings.batch_size, self.device)
        return result

    def _correct_float(self, state: PipelineState, correct: Tensor) -> Any:
        """The verdict before rounding, where the pipeline ends in an attack; empty elsewhere."""
        if not self.pipeline.stages or self.pipeline.stages[-1].kind != "attack":
            return pd.array([pd.NA] * len(correct), dtype="boolean")
        return torch.where(state.attacked, state.correct_float, correct).numpy()

    def _through(
        self,
        source: PipelineState,
        images: ShardImages,
        labels: Tensor,
        length: int,
        prefix: Callable[[int, Callable[[], PipelineState]], PipelineState],
        advance: Callable[[int], None],
    ) -> PipelineState:
        if length == 0:
            return source

        def make() -> PipelineState:
            before = self._through(source, images, labels, length - 1, prefix, advance)
            stage = self.pipeline.stages[length - 1]
            if stage.kind == "perturb":
                return self._perturb(stage, length - 1, before, images)
            return self._attack(stage, length - 1, before, images, labels, advance)

        return make() if length == len(self.pipeline.stages) else prefix(length, make)

    def _perturb(
        self, stage: BoundStage, position: int, state: PipelineState, images: ShardImages
    ) -> PipelineState:
        levels = list(state.levels)
        for rows in _same_size(levels, range(len(levels))):
            for batch in np.array_split(
                rows, range(self.settings.batch_size, len(rows), self.settings.batch_size)
            ):
                stack = torch.stack([levels[row] for row in batch])
                done = perturb(stage, stack, self._streams(images, batch.tolist(), position))
                for row, image in zip(batch, done, strict=True):
                    levels[row] = image
        return replace(state, levels=levels, score=None)

    def _attack(
        self,
        stage: BoundStage,
        position: int,
        state: PipelineState,
        images: ShardImages,
        labels: Tensor,
        advance: Callable[[int], None],
    ) -> PipelineState:
        # Accuracy is decided once the verdict is wrong, but only for the last stage: what follows may undo it.
        early = self.settings.mode == "accuracy" and position == len(self.pipeline.stages) - 1
        wanted = torch.isin(labels, torch.tensor(_ATTACKED_LABELS[self.settings.objective]))
        score = state.score
        if score is None:
            # Not needed where every score is about to be replaced.
            score = (
                torch.full((len(labels),), torch.nan)
                if wanted.all() and not early
                else self.score(state.levels)
            )
        if early:
            wanted &= verdicts(score, self.settings.threshold) == labels
        levels, deployed = list(state.levels), DeployedDetector(self.detector, self.settings.threshold)
        after = PipelineState(
            levels,
            score.clone(),
            state.attacked | wanted,
            state.correct_float.clone(),
            state.linf.clone(),
            state.l2.clone(),
            state.steps.clone(),
            state.queries.clone(),
        )
        assert after.score is not None
        for rows in _same_size(levels, wanted.nonzero().flatten().tolist()):
            task = AttackTask(
                deployed,
                torch.stack([levels[row] for row in rows]),
                labels[rows],
                self._streams(images, rows, position),
                threat_of(stage),
                stage.params,
                early,
                self.settings.batch_size,
                self.device,
                self.settings.precision,
            )
            outcome = run_attack(stage, task, advance)
            for row, image in zip(rows, outcome.levels, strict=True):
                levels[row] = image
            after.score[rows], after.correct_float[rows] = outcome.score, outcome.correct_float
            after.linf[rows], after.l2[rows] = outcome.linf, outcome.l2
            after.steps[rows] += outcome.steps
            after.queries[rows] += outcome.queries
        return after

    def _streams(self, images: ShardImages, rows: Iterable[int], position: int) -> SampleStreams:
        return SampleStreams(self.settings.seed, tuple(images.samples[row].id for row in rows), position)


def _same_size(levels: list[Tensor], rows: Iterable[int]) -> list[list[int]]:
    """Group rows by the size of their images, in order of first appearance."""
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for row in rows:
        groups[levels[row].shape].append(row)
    return list(groups.values())


def _difference(before: list[Tensor], after: list[Tensor]) -> tuple[Tensor, Tensor]:
    """L∞ and L2 between images in pixel units; NaN where a size has changed."""
    linf, l2 = torch.full((len(before),), torch.nan), torch.full((len(before),), torch.nan)
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        if one.shape == other.shape:
            (linf[row],), (l2[row],) = level_distances(one[None], other[None])
    return linf, l2
