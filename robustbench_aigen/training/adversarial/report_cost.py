"""Time of a report before and after, estimated from measured speeds on validation images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from robustbench_aigen.data.opening import open_data
from robustbench_aigen.data.samples import ImageSource
from robustbench_aigen.data.selection import Selection, select, stratified
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.engine.estimate import Standing, cell_seconds, stages_of, work_of
from robustbench_aigen.engine.identity import ComputeSettings
from robustbench_aigen.engine.pace import Pace, measured_pace
from robustbench_aigen.engine.shards import NOT_HASHED, Shard, decode_shard
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.memory import within_memory
from robustbench_aigen.numerics.precision import resolve_precision
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import Scenario, Trust
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.report_scenario import DEPTHS, Depth, scenario_before
from robustbench_aigen.training.adversarial.report_size import ReportSize, fitted
from robustbench_aigen.trust.checks.gradients import unbounded_attack
from robustbench_aigen.trust.checks.second_attacks import black_box, includes, more_steps
from robustbench_aigen.trust.sequential import FIRST_PROBED, PROBED

_MOST_TIMED = 64
"""Largest number of validation images for measuring speeds."""


_HOPED = 0.75
"""Assumed share of images that withstand an attack after the training."""


def hoped_for(before: Standing) -> Standing:
    """Return the expected accuracy of the detector after training, for an estimate."""
    return Standing(before.right, max(_HOPED, before.held))


@dataclass(frozen=True)
class ReportCost:
    """The work of a report.

    Parameters
    ----------
    loaded
        The fine-tuning.
    detector
        The detector on its device, in evaluation mode at the first measurement.
    source, validation
        The images of the training, and which of them the pace is measured on: none that the report is about.
    device
        The device of the report.
    loading, opening
        Seconds that loading the detector took, and opening and dividing the images.
    """

    loaded: FineTuning
    detector: Detector
    source: ImageSource
    validation: Sequence[int]
    device: torch.device
    loading: float
    opening: float

    @cached_property
    def scenario(self) -> Scenario:
        """The whole scenario, on the detector before."""
        return scenario_before(self.loaded, Depth())

    @cached_property
    def selection(self) -> Selection:
        """All test images, or the images of the user's scenario.

        Raises
        ------
        UserError
            If there are no images.
        """
        data, is_own = self.scenario.data, self.loaded.report.scenario is not None
        source = open_data(data, self.scenario.folder) if is_own else self.source
        try:
            return select(source, data.split, None)
        except UserError as error:
            hint = "give the images a test split, or train with --no-report"
            raise UserError(f"{error.message}, which the report needs", hint=hint) from error

    def check(self) -> None:
        """Raise UserError if there are no images for the report."""
        assert self.selection.indices

    @property
    def most(self) -> int:
        """Number of images of a report without a time limit."""
        report, available = self.loaded.report, len(self.selection.indices)
        if report.images is not None:
            return available if report.images == "all" else min(available, report.images)
        limits = [available]
        if report.scenario is None or "limit" in report.model_fields_set:
            limits.append(report.limit)
        own = self.scenario.data.limit
        return min(limits if own is None else [*limits, own])

    @cached_property
    def pace(self) -> Pace:
        """The pace of the detector."""
        samples = self.source.samples
        chosen = [*self.validation]
        if len(chosen) > _MOST_TIMED:
            chosen = stratified(samples, chosen, _MOST_TIMED)
        tuning = self.loaded
        settings = ComputeSettings(
            tuning.seed, "both", "score", resolve_precision(tuning.precision, self.device), self.device.type,
            default_batch_size(self.detector, self.device), HALF,
        )  # fmt: skip
        stages = stages_of(self.pipelines(Depth()))

        def measured(count: int) -> Pace:
            some = chosen[:count]
            shard = Shard(Selection(self.source, some, "val"), tuple(some), (NOT_HASHED,) * count)
            try:
                return measured_pace(self.detector, stages, decode_shard(shard), settings, self.device)
            finally:
                # Kept copies would be taken for the detector after it is trained, and hold memory meanwhile.
                self.detector.refresh()

        return within_memory(measured, len(chosen), self.detector.name, lambda _: None)[0]

    def pipelines(self, depth: Depth) -> list[Pipeline]:
        """Return the pipelines of the scenario."""
        return expand_pipelines(scenario_before(self.loaded, depth))

    def cells(self, depth: Depth, before: Standing, after: Standing) -> dict[tuple[str, str], float]:
        """Return the seconds per image of every cell, by detector and pipeline."""
        pipelines = self.pipelines(depth)
        specs = [stage.surrogate for pipeline in pipelines for stage in pipeline.stages]
        surrogates = {spec: self.pace for spec in specs if spec is not None}
        name = str(self.scenario.detectors[0].name)
        if self.scenario.mode == "score":  # There, every image takes every step.
            before = after = Standing()
        return {
            (detector, pipeline.name): cell_seconds(pipeline, self.pace, surrogates, standing)
            for detector, standing in ((name, before), (self.loaded.name, after))
            for pipeline in pipelines
        }

    def per_image(self, depth: Depth, before: Standing, after: Standing) -> float:
        """Return the seconds per image, for both detectors."""
        return sum(self.cells(depth, before, after).values())

    def _trust(self, depth: Depth) -> Trust:
        has_own = self.loaded.report.scenario is not None
        return self.scenario.trust if has_own else depth.trust

    def beside(self, depth: Depth) -> float:
        """Return the fixed seconds of a report: loading, output check, trust probes, tables."""
        pipelines, pace = self.pipelines(depth), self.pace
        loading = 3 * self.loading + self.opening
        checked = 2 * (_CHECKED * pace.verdict + _TABLES * len(pipelines))
        return loading + checked + 2 * self._probes(pipelines, self._trust(depth))

    def _probes(self, pipelines: Sequence[Pipeline], trust: Trust) -> float:
        """Return the seconds of the trust probes of a detector: a few images, several times the steps, a black box."""
        if trust == "off":
            return 0.0
        is_quick = trust == "quick"
        sweeps: dict[str, Attack] = {}
        for pipeline in pipelines:
            stage = pipeline.stages[0] if pipeline.stages else None
            if isinstance(stage, Attack) and stage.surrogate is None:
                sweeps[pipeline.family] = stage
        gradients = queries = 0
        for stage in sweeps.values():
            more = more_steps(stage, quick=is_quick)
            gradients += 0 if more is None else work_of(more).gradients
            box = black_box(stage, quick=is_quick) if stage.recipe.access == "gradients" else None
            if box is not None and not any(includes(other, box) for other in sweeps.values()):
                queries += work_of(box).queries
        probed, ends = (FIRST_PROBED, 1) if is_quick else (PROBED, 2)
        steps = work_of(unbounded_attack()).gradients + ends * gradients
        return probed * (steps * self.pace.gradient + ends * queries * self.pace.query)

    def size(self, training: float, before: Standing, after: Standing) -> ReportSize:
        """Return the size of the report after a training of the given seconds.

        Raises
        ------
        UserError
            If there are no images for it.
        """
        report = self.loaded.report
        depths = DEPTHS if report.scenario is None else (Depth(),)
        if report.images is not None:
            seconds = self.beside(Depth()) + self.most * self.per_image(Depth(), before, after)
            return ReportSize(self.most, self.most, len(self.selection.indices), Depth(), seconds, None)
        return fitted(
            self.selection.source.samples,
            self.selection.indices,
            self.most,
            depths,
            lambda depth: self.per_image(depth, before, after),
            self.beside,
            training,
        )


_TABLES = 0.05
"""Seconds of intervals, tests and tables for a cell."""
_CHECKED = 100
"""Verdicts of a detector before a run: which output means what, whether it answers alike."""
