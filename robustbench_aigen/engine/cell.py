"""One cell on one shard: images through the stages of a pipeline, then the verdict on 8 bits in float32."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import threat_of
from robustbench_aigen.attacks.reaction.insight import ORDINARY
from robustbench_aigen.detectors.contract import FAKE, REAL, Detector, probabilities, verdicts
from robustbench_aigen.detectors.remote.file_metadata import files_with
from robustbench_aigen.detectors.trial import check_finite
from robustbench_aigen.engine.batch import attack_batch, delivered, log_odds_of
from robustbench_aigen.engine.gallery import encode_png
from robustbench_aigen.engine.identity import ComputeSettings
from robustbench_aigen.engine.pipeline_state import PipelineState, copy_from, difference, fallen, note_quality
from robustbench_aigen.engine.shards import ShardImages
from robustbench_aigen.engine.sizes import attack_groups, same_size
from robustbench_aigen.numerics.masks import mask_shares
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.perturbations.encoded_files import codec_position, encoded_files, exif_of_stages
from robustbench_aigen.runs.records import RECORD_DTYPES
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Attack, Perturbation

_ATTACKED_LABELS = {"both": (REAL, FAKE), "fake_to_real": (FAKE,), "real_to_fake": (REAL,)}
SHARD_DTYPES = {**RECORD_DTYPES, "image": "object"}
"""Columns of a shard's records: ``image`` is the file of what the detector saw, for the few attacked samples that go
into the run's gallery."""


def no_records() -> pd.DataFrame:
    """Return the records of a shard of which no image could be read."""
    return pd.DataFrame({name: [] for name in SHARD_DTYPES}).astype(SHARD_DTYPES)


def perturbed(
    stage: Perturbation, levels: Sequence[Tensor], streams: SampleStreams, batch_size: int
) -> list[Tensor]:
    """Apply a perturbation to N uint8 images of any sizes, in batches of one size."""
    done = list(levels)
    for rows in same_size(done, range(len(done))):
        for first in range(0, len(rows), batch_size):
            batch = rows[first : first + batch_size]
            changed = perturb(stage, torch.stack([done[row] for row in batch]), streams.select(batch))
            for row, image in zip(batch, changed, strict=True):
                done[row] = image
    return done


@dataclass(frozen=True)
class Cell:
    """A detector, a pipeline and the settings that its records depend on.

    ``surrogates`` are the detectors that its attacks are crafted on, by their keys in the scenario.
    """

    detector: Detector
    pipeline: Pipeline
    settings: ComputeSettings
    device: torch.device
    surrogates: Mapping[object, Detector] = field(default_factory=dict)

    def run(
        self,
        images: ShardImages,
        clean_log_odds: Tensor | None,
        prefix: Callable[[int, Callable[[], PipelineState]], PipelineState],
        advance: Callable[[int], None],
        smaller_eps_records: pd.DataFrame | None = None,
        ahead: Callable[[int], list[Tensor] | None] = lambda _: None,
    ) -> pd.DataFrame:
        """Compute the records of one shard.

        Parameters
        ----------
        images
            The decoded shard.
        clean_log_odds
            Log-odds of *fake* of its images in the clean cell; None in the clean cell itself.
        prefix
            Memo of the images after the first ``length`` stages: ``prefix(length, make)``. Sweeps over a later
            stage share the attack before it.
        advance
            Called with the number of images that an attack has newly finished.
        smaller_eps_records
            The records of the same shard at the next smaller eps of the final attack, if a sweep shares work: images
            that it fooled are not attacked again.
        ahead
            Returns the images after the first ``length`` stages, if it has them; None elsewhere.
        """
        labels = torch.tensor([sample.label for sample in images.samples])
        source = PipelineState.before(images.levels, clean_log_odds)
        measured = torch.tensor(
            [
                images.ssim.has(sample.id, level.shape[1] * level.shape[2])
                for sample, level in zip(images.samples, images.levels, strict=True)
            ]
        )
        context = _Context(images, labels, measured, prefix, advance, smaller_eps_records, ahead)
        state = self._after(source, len(self.pipeline.stages), context)
        names = [sample.id for sample in images.samples]
        with files_with(exif_of_stages(self.pipeline.stages)):
            log_odds = self.log_odds(state.levels, names) if state.log_odds is None else state.log_odds
        check_finite(self.detector, log_odds, names, self._told(len(self.pipeline.stages)))
        clean = log_odds if clean_log_odds is None else clean_log_odds
        correct = verdicts(log_odds, self.settings.threshold) == labels
        was_correct = verdicts(clean, self.settings.threshold) == labels
        if not self.pipeline.attack_positions:
            linf, l2 = difference(images.levels, state.levels)
            state = replace(state, linf=linf, l2=l2)
            if self.pipeline.stages:
                note_quality(state, range(len(labels)), images.levels, state.levels, measured)
        columns = {
            "sample": names,
            "generator": [sample.generator for sample in images.samples],
            "label": labels.numpy(),
            "clean_score": probabilities(clean).numpy(),
            "score": probabilities(log_odds).numpy(),
            "threshold": self.settings.threshold.score,
            "attacked": state.attacked.numpy(),
            "correct_clean": was_correct.numpy(),
            "correct": correct.numpy(),
            "correct_float": self._correct_float(state, correct),
            "linf": state.linf.numpy(),
            "l2": state.l2.numpy(),
            "distance": self._distances(state, correct, was_correct).numpy(),
            "distance_limit": self._distance_limit,
            "steps": state.steps.numpy(),
            "queries": state.queries.numpy(),
            "sha256": images.hashes,
            "search_eps": state.search_eps.numpy(),
            "psnr": state.psnr.numpy(),
            "ssim": state.ssim.numpy(),
            "masked_area": state.masked_area.numpy(),
            "generated_area": np.array([sample.generated_area for sample in images.samples], np.float32),
            "chain": state.chains,
            "found_by": state.found_by,
            "clean_log_odds": clean.numpy(),
            "log_odds": log_odds.numpy(),
            "threshold_log_odds": self.settings.threshold.log_odds,
            "image": self._kept_images(images, state, smaller_eps_records),
        }
        return pd.DataFrame(columns).astype(SHARD_DTYPES)

    def log_odds(self, levels: list[Tensor], names: Sequence[str]) -> Tensor:
        """Return the log-odds of *fake* of uint8 images of any sizes, in float32, in fixed batches of one size.

        Raises
        ------
        UserError
            If the detector fails on images, of which ``names`` has the first.
        """
        return log_odds_of(self.detector, levels, names, self.settings.batch_size, self.device)

    def _told(self, length: int) -> str:
        """Return a text on the first ``length`` stages, for a message."""
        return ", ".join(stage.recipe.name for stage in self.pipeline.stages[:length])

    def _kept_images(
        self, images: ShardImages, state: PipelineState, smaller_eps_records: pd.DataFrame | None
    ) -> list[bytes | None]:
        """Return the images for the gallery; an image fooled at a smaller eps is stored as attacked there.

        PNGs, or the files of a last stage that is a codec, where whole images are kept.
        """
        kept: list[bytes | None] = [None] * len(images.samples)
        if self.pipeline.attack_positions:
            for row, sample in enumerate(images.samples):
                if sample.id in images.kept:
                    kept[row] = state.files.get(row) or encode_png(state.levels[row], whole=images.whole)
            if smaller_eps_records is not None:
                for row in self._decided(smaller_eps_records).nonzero().flatten().tolist():
                    kept[row] = smaller_eps_records["image"].iloc[row]
        return kept

    def _correct_float(self, state: PipelineState, correct: Tensor) -> Any:
        """The verdict before rounding, where the pipeline ends in an attack that searched; empty elsewhere."""
        if not self.pipeline.ends_in_attack:
            return pd.array([pd.NA] * len(correct), dtype="boolean")
        verdict = pd.array(torch.where(state.attacked, state.correct_float, correct).numpy(), dtype="boolean")
        verdict[(state.search_eps == 0).numpy()] = pd.NA  # Nothing was tried.
        return verdict

    def _after(self, source: PipelineState, length: int, context: "_Context") -> PipelineState:
        """Return the images after the first ``length`` stages."""
        if length == 0:
            return source
        ahead = context.ahead(length)
        if ahead is not None:
            noted = source
            for position, stage in enumerate(self.pipeline.stages[:length]):
                if stage.mask is not None:
                    noted = self._masked(stage.mask, position, noted, context)
            return replace(noted, levels=ahead, log_odds=None)

        def make() -> PipelineState:
            before = self._after(source, length - 1, context)
            stage = self.pipeline.stages[length - 1]
            if stage.mask is not None:
                before = self._masked(stage.mask, length - 1, before, context)
            if isinstance(stage, Attack):
                return self._attack(stage, length - 1, before, context)
            assert isinstance(stage, Perturbation)
            levels = perturbed(
                stage,
                before.levels,
                self._streams(context.images, range(len(context.labels)), length - 1),
                self.settings.batch_size,
            )
            after = replace(before, levels=levels, log_odds=None, files={})
            if length == len(self.pipeline.stages):
                after.files |= self._files(source, after.levels, context)
            return after

        return make() if length == len(self.pipeline.stages) else context.prefix(length, make)

    def _masked(self, mask: str, position: int, state: PipelineState, context: "_Context") -> PipelineState:
        """Note the share of each image that a stage with a mask may change, the largest of several stages."""
        area = state.masked_area.clone()
        streams = self._streams(context.images, range(len(area)), position)
        for rows in same_size(state.levels, range(len(area))):
            shares = mask_shares(mask, state.levels[rows[0]].shape[1:], streams.select(rows))
            area[rows] = torch.fmax(area[rows], shares)
        return replace(state, masked_area=area)

    def _files(self, source: PipelineState, done: list[Tensor], context: "_Context") -> dict[int, bytes]:
        """Return the files of attacked images that a codec or EXIF at the end makes, where whole images are kept."""
        files: dict[int, bytes] = {}
        stages = self.pipeline.stages
        if not (context.images.whole and self.pipeline.attack_positions):
            return files
        exif, position = exif_of_stages(stages), codec_position(stages)
        before, stage = self._after(source, position, context).levels, stages[position]
        assert isinstance(stage, Perturbation)
        for rows in same_size(before, range(len(before))):
            stack, streams = (
                torch.stack([before[row] for row in rows]),
                self._streams(context.images, rows, position),
            )
            blocks = None if exif is None else [exif(done[row]) for row in rows]
            encoded = encoded_files(stage, stack, streams, blocks)
            if encoded is None and blocks is not None:
                encoded = [
                    encode_png(done[row], whole=True, exif=block)
                    for row, block in zip(rows, blocks, strict=True)
                ]
            files |= dict(zip(rows, encoded or (), strict=encoded is not None))
        return files

    def _attack(
        self, stage: Attack, position: int, state: PipelineState, context: "_Context"
    ) -> PipelineState:
        labels = context.labels
        is_last = position == len(self.pipeline.stages) - 1
        accuracy = self.settings.mode == "accuracy" and is_last
        # Accuracy is decided once the verdict is wrong, but only for the last stage: what follows may undo it.
        # So may another detector than the one attacked, or another draw of something random.
        early = accuracy and stage.is_judged_as_crafted
        wanted = torch.isin(labels, torch.tensor(_ATTACKED_LABELS[self.settings.objective]))
        streams = self._streams(context.images, range(len(labels)), position)
        threat, log_odds = threat_of(stage), state.log_odds
        if accuracy and stage.through:
            # The verdict behind the operations of ``through`` decides which images are attacked.
            log_odds = self._delivered(stage, range(len(labels)), streams, state.levels)[1]
        elif log_odds is None:
            # Not needed where all of them are about to be replaced.
            log_odds = (
                torch.full((len(labels),), torch.nan)
                if wanted.all() and not accuracy and threat.reach != 0
                else self.log_odds(state.levels, streams.samples)
            )
        if accuracy:
            check_finite(self.detector, log_odds, streams.samples, self._told(position))
            if not self._answers_vary(stage):
                wanted &= verdicts(log_odds, self.settings.threshold) == labels
        # Where the 8-bit image itself is the only one in the budget, there is nothing to search.
        searched = 0.0 if threat.reach == 0 else float(stage.params.get("eps") or torch.nan)
        after = PipelineState(
            list(state.levels),
            log_odds.clone(),
            state.attacked | wanted,
            state.correct_float.clone(),
            state.linf.clone(),
            state.l2.clone(),
            torch.full((len(labels),), torch.inf if stage.measures_distance else torch.nan),
            state.steps.clone(),
            state.queries.clone(),
            torch.where(wanted, searched, state.search_eps),
            state.psnr.clone(),
            state.ssim.clone(),
            state.masked_area,
            list(state.chains),
            list(state.found_by),
        )
        plain = ~wanted
        if threat.reach == 0:
            after.linf[wanted] = after.l2[wanted] = 0.0
            after.psnr[wanted], after.ssim[wanted & context.measured] = torch.inf, 1.0
            plain, wanted = torch.ones_like(wanted), torch.zeros_like(wanted)
        elif context.smaller_eps_records is not None and is_last:
            decided = self._decided(context.smaller_eps_records)
            copy_from(after, context.smaller_eps_records, decided)
            wanted = wanted & ~decided
        surrogate = None if stage.surrogate is None else self.surrogates[stage.surrogate]
        chosen = wanted.nonzero().flatten().tolist()
        for rows in attack_groups((stage,), self.detector, surrogate, after.levels, chosen):
            self._attack_group(stage, rows, streams, early, after, context)
        if stage.through and plain.any():
            rows = plain.nonzero().flatten().tolist()
            images, log_odds = self._delivered(stage, rows, streams, after.levels)
            assert after.log_odds is not None
            after.log_odds[rows] = log_odds
            for row, image in zip(rows, images, strict=True):
                after.levels[row] = image
        return after

    @property
    def _distance_limit(self) -> float:
        """The budget of a minimum-norm attack at the end of the pipeline; NaN elsewhere."""
        last = self.pipeline.stages[-1] if self.pipeline.stages else None
        measures = isinstance(last, Attack) and last.measures_distance
        return float(last.eps or torch.nan) if isinstance(last, Attack) and measures else float("nan")

    def _distances(self, state: PipelineState, correct: Tensor, was_correct: Tensor) -> Tensor:
        """Return the smallest changes that make the verdict wrong, which are zero where nothing has to change."""
        if math.isnan(self._distance_limit):
            return torch.full_like(state.distance, torch.nan)
        found = torch.where(correct, torch.inf, torch.where(state.distance.isfinite(), state.distance, 0.0))
        # In score mode, an attack may search on, and return, an image that was wrong before.
        return found if len(self.pipeline.stages) > 1 else torch.where(was_correct, found, 0.0)

    def _answers_vary(self, stage: Attack) -> bool:
        """Whether one wrong answer to a clean image means nothing: the attack takes means over the answers."""
        insight = self.settings.insight
        return stage.recipe.adapts and insight is not None and insight.draws > 1

    def _decided(self, smaller_eps_records: pd.DataFrame) -> Tensor:
        """Return which images need no search at this eps, given the records at the next smaller one.

        What fell has fallen. Where both budgets hold the same 8-bit images (1/255 and 1.5/255), what withstood has too.
        """
        smaller = self.pipeline.smaller
        assert smaller is not None
        reach = threat_of(self.pipeline.attacks[-1]).reach
        if reach is not None and reach == threat_of(smaller.attacks[-1]).reach:
            return torch.from_numpy(smaller_eps_records["attacked"].to_numpy(bool).copy())
        return fallen(smaller_eps_records)

    def _delivered(
        self, stage: Attack, rows: Sequence[int], streams: SampleStreams, levels: list[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Return unattacked images after an attack's ``through``, and their log-odds."""
        own = streams.select(rows)
        images = delivered(stage, [levels[row] for row in rows], own, self.settings.batch_size)
        return images, self.log_odds(images, own.samples)

    def _attack_group(
        self,
        stage: Attack,
        rows: list[int],
        streams: SampleStreams,
        early: bool,
        after: PipelineState,
        context: "_Context",
    ) -> None:
        """Attack some images and write the results into the state."""
        batch = attack_batch(
            stage,
            self.detector,
            [after.levels[row] for row in rows],
            context.labels[rows],
            streams.select(rows),
            threshold=self.settings.threshold,
            early_stop=early,
            batch_size=self.settings.batch_size,
            device=self.device,
            precision=self.settings.precision,
            surrogate=None if stage.surrogate is None else self.surrogates[stage.surrogate],
            advance=context.advance,
            insight=self.settings.insight if stage.surrogate is None else ORDINARY,
        )
        outcome = batch.outcome
        check_finite(self.detector, outcome.log_odds, batch.task.streams.samples, stage.recipe.name)
        assert after.log_odds is not None
        after.linf[rows], after.l2[rows] = outcome.linf, outcome.l2
        after.distance[rows] = outcome.distance
        note_quality(after, rows, [after.levels[row] for row in rows], batch.images, context.measured)
        for row, image in zip(rows, batch.delivered(), strict=True):
            after.levels[row] = image
        after.log_odds[rows], after.correct_float[rows] = outcome.log_odds, outcome.correct_float
        after.steps[rows] += outcome.steps
        after.queries[rows] += outcome.queries
        for row, chain in zip(rows, outcome.chains, strict=True):
            after.chains[row] = chain
        for row, part in zip(rows, outcome.found_by, strict=True):
            after.found_by[row] = part

    def _streams(self, images: ShardImages, rows: Iterable[int], position: int) -> SampleStreams:
        return SampleStreams(self.settings.seed, tuple(images.samples[row].id for row in rows), position)


@dataclass(frozen=True)
class _Context:
    """Shared values of the stages of one shard; ``measured`` marks the images with SSIM, N bool."""

    images: ShardImages
    labels: Tensor
    measured: Tensor
    prefix: Callable[[int, Callable[[], PipelineState]], PipelineState]
    advance: Callable[[int], None]
    smaller_eps_records: pd.DataFrame | None
    ahead: Callable[[int], list[Tensor] | None]
