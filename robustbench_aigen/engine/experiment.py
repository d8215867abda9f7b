"""Experiments: a run before its start, with all checks of scenario, detectors and data done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.data.image_data import DataLike, ImageData, as_image_data
from robustbench_aigen.data.inventory import describe_briefly
from robustbench_aigen.data.samples import read_encoded
from robustbench_aigen.data.selection import ALL, Selection
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import describe_detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.naming import name_apart
from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.documents.document import validated_values
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.identity import ComputeSettings
from robustbench_aigen.engine.pipelines_like import PipelinesLike, read_pipelines
from robustbench_aigen.engine.scenario_checks import (
    bound_pipelines,
    check_detectors,
    check_gate,
    check_masks,
    check_names,
    check_stages,
    selected_images,
    surrogate_specs,
)
from robustbench_aigen.errors import UserError
from robustbench_aigen.metrics.conformal import UnsureBand
from robustbench_aigen.metrics.metric import check_optional
from robustbench_aigen.notices import Notice
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.perturbations.encoded_files import exif_of_stages
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import (
    KeepImages,
    Mode,
    Objective,
    Precision,
    RunSettings,
    Scenario,
    SsimRule,
    Trust,
)
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.stages.stage import Stage

if TYPE_CHECKING:
    import pandas as pd

    from robustbench_aigen.engine.progress import Progress
    from robustbench_aigen.runs.run import Run


DetectorLike = Detector | nn.Module | str | Path | Mapping[str, Any]
"""A detector, any module with one or two outputs, an id, a file, or the keys of a detector in a scenario."""


@dataclass(frozen=True, init=False)
class Experiment:
    """A checked run before its start: detectors, images and pipelines.

    ``Experiment(detectors, data, pipelines)`` takes what :func:`robustbench_aigen.evaluate` takes. A module in memory
    stays on its device; a detector that is loaded goes to ``device``.

    Attributes
    ----------
    scenario
        Its settings; the scenario itself where there is one.
    pipelines
        ``clean`` first, swept ones expanded.
    detectors
        Loaded, with names of their own.
    selection
        The images.
    device, settings
        Where and how to compute.
    thresholds
        Of the detectors, by their names.
    surrogates
        The detectors that attacks are crafted on, by what the stages say of them.
    specs
        The specifications of the detectors; None for a detector in memory.
    trust_code
        Whether files may run code when they are loaded.
    confidence
        Confidence of the intervals in the summary.
    insights
        How gradients of the detectors are found, by their names; None before a run has tried that.
    bands
        The unsure bands of the detectors, by their names; None before a run has fitted them.
    """

    scenario: RunSettings
    pipelines: tuple[Pipeline, ...]
    detectors: tuple[Detector, ...]
    selection: Selection
    device: torch.device
    settings: ComputeSettings
    thresholds: Mapping[str, Threshold]
    surrogates: Mapping[object, Detector]
    specs: tuple[DetectorSpec | None, ...]
    trust_code: bool
    confidence: float = 0.95
    insights: Mapping[str, Insight] | None = None
    bands: Mapping[str, UnsureBand] | None = None

    def __init__(
        self,
        detectors: DetectorLike | Sequence[DetectorLike],
        data: DataLike,
        pipelines: PipelinesLike,
        *,
        split: str | None = None,
        limit: int | None = None,
        threshold: float | str | None = None,
        objective: Objective = "both",
        mode: Mode = "accuracy",
        share_sweeps: bool = True,
        seed: int = 42,
        batch_size: int | None = None,
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        name: str = "evaluation",
        keep_images: KeepImages = "some",
        trust: Trust = "quick",
        ssim: SsimRule = "sample",
        metrics: Sequence[str] = (),
        unsure: float | None = None,
        trust_code: bool = False,
    ) -> None:
        settings = {
            "name": name, "objective": objective, "mode": mode, "share_sweeps": share_sweeps, "seed": seed,
            "batch_size": batch_size, "precision": precision, "keep_images": keep_images,
            "metrics": list(metrics), "unsure": unsure,
            "trust": trust, "ssim": ssim, "threshold": 0.5 if threshold is None else threshold,
        }  # fmt: skip
        checked = validated_values(RunSettings, settings, "an evaluation")
        check_optional(checked.metrics)
        share = checked.mode == "accuracy" and checked.share_sweeps
        expanded = read_pipelines(pipelines, share=share)
        images = as_image_data(data, split, limit)
        if isinstance(checked.threshold, str) and images.split in ("val", ALL):
            raise UserError(
                f"'{threshold}' is fitted on the validation split, and split={images.split!r} evaluates that split",
                hint=f"fit it on other images: detector.with_threshold({threshold!r}, images, labels)",
            )
        if checked.unsure is not None and images.split in ("val", ALL):
            raise UserError(
                f"'unsure' is fitted on the validation split, and split={images.split!r} evaluates that split",
                hint="split='test', with data that also have a validation split",
            )
        self._set(
            **_in_memory(
                detectors if isinstance(detectors, list | tuple) else [detectors],
                images,
                expanded,
                checked,
                threshold=None if threshold is None else checked.threshold,
                device=device,
                trust_code=trust_code,
            )
        )

    @classmethod
    def assembled(cls, **fields: object) -> "Experiment":
        """Return an experiment of its attributes, all of them checked before."""
        experiment = object.__new__(cls)
        experiment._set(**fields)
        return experiment

    def replaced(self, **changes: object) -> "Experiment":
        """Return the experiment with other values of some attributes."""
        return self.assembled(**{each.name: getattr(self, each.name) for each in fields(self)} | changes)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.detectors) * len(self.pipelines)

    def notices(self) -> list[Notice]:
        """Return one line on the settings of each detector and surrogate, and the issues of the data."""
        loaded = {detector.name: detector for detector in (*self.detectors, *self.surrogates.values())}
        notices = [notice for detector in loaded.values() for notice in describe_detector(detector)]
        notices += [Notice(text) for text in self.selection.source.notices]
        labels = {sample.label for sample in self.selection.samples}
        if len(labels) == 1:
            present, absent = ("AI-generated", "real") if labels == {1} else ("real", "AI-generated")
            text = f"all images are {present}: numbers that also need {absent} images stay empty"
            notices.append(Notice(text))
        unseen = [detector.name for detector in self.detectors if not is_remote(detector)]
        writing = [each.name for each in self.pipelines if exif_of_stages(each.stages) is not None]
        if unseen and writing:
            text = f"detectors of pixels do not see the EXIF of {', '.join(writing)}: {', '.join(unseen)}"
            notices.append(Notice(text))
        return notices

    def estimate(self) -> "pd.DataFrame":
        """Return the expected time of each cell, from a part of the images that is run in memory.

        Returns
        -------
        DataFrame
            ``detector, pipeline, images``; ``seconds`` expected, with ``least`` and ``most`` as the range; ``queries``,
            the gradients and verdicts that attacks take; ``memory_mb``, the peak of the process, on a GPU of its
            memory. With a detector behind HTTP nothing is sent: ``seconds`` follow from rate limits, and ``queries`` are
            the most to services.
        """
        from robustbench_aigen.evaluation import estimate

        return estimate(self)

    def run(
        self, output: str | Path | None = None, *, fresh: bool = False, progress: "Progress | None" = None
    ) -> "Run":
        """Compute the experiment into a run folder below ``output``, or into memory where that is None."""
        from robustbench_aigen.evaluation import run_experiment

        return run_experiment(self, output=output, fresh=fresh, progress=progress)

    def described_data(self) -> list[str]:
        """Return the layout of the data and its counts, in two lines."""
        return describe_briefly(self.selection.source)

    def cell(self, detector: Detector, pipeline: Pipeline) -> Cell:
        """Return a cell with the settings of its detector."""
        settings = replace(
            self.settings,
            threshold=self.thresholds[detector.name],
            batch_size=self.scenario.batch_size or default_batch_size(detector, self.device),
            insight=None if self.insights is None else self.insights.get(detector.name),
        )
        return Cell(detector, pipeline, settings, self.device, self.surrogates)


def make_experiment(loaded: Scenario, *, device: str = "auto", trust_code: bool = False) -> Experiment:
    """Bind pipelines, load detectors and select images.

    Raises
    ------
    UserError
        If the scenario, a detector or the data are wrong.
    """
    scenario = loaded
    pipelines = bound_pipelines(loaded)
    target = resolve_device(device)
    detectors: list[Detector] = []
    for spec in scenario.detectors:
        try:
            detector = load_detector(spec, folder=loaded.folder, device=target, trust_code=trust_code)
        except UserError as error:
            raise error.at(spec.where()) from error
        detectors.append(detector)
    name_apart(scenario.detectors, detectors)
    check_names(loaded, detectors)
    selection = selected_images(loaded)
    check_masks(pipelines, selection)
    precision = resolve_precision(scenario.precision, target)
    settings = ComputeSettings(
        scenario.seed, scenario.objective, scenario.mode, precision, target.type, 1, HALF
    )
    # A rule is fitted when the run starts, on clean log-odds, which do not depend on the threshold.
    threshold = HALF if isinstance(scenario.threshold, str) else Threshold.at(scenario.threshold)
    thresholds = {detector.name: threshold for detector in detectors}
    surrogates = _load_surrogates(loaded, pipelines, target, trust_code=trust_code)
    check_detectors(pipelines, detectors, surrogates)
    check_gate(loaded, pipelines, detectors, selection)
    return Experiment.assembled(
        scenario=loaded, pipelines=tuple(pipelines), detectors=tuple(detectors), selection=selection, device=target,
        settings=settings, thresholds=thresholds, surrogates=surrogates, specs=tuple(scenario.detectors),
        trust_code=trust_code,
    )  # fmt: skip


def _load_surrogates(
    loaded: Scenario, pipelines: list[Pipeline], device: torch.device, *, trust_code: bool
) -> dict[object, Detector]:
    """Load the surrogates of the attacks."""
    surrogates: dict[object, Detector] = {}
    for spec in surrogate_specs(pipelines):
        if spec in surrogates:
            continue
        try:
            surrogates[spec] = load_detector(spec, folder=loaded.folder, device=device, trust_code=trust_code)
        except UserError as error:
            raise error.at(spec.where()) from error
    return surrogates


def _in_memory(
    detectors: Sequence[object],
    data: ImageData,
    pipelines: Sequence[Pipeline],
    settings: RunSettings,
    *,
    threshold: float | str | None,
    device: str | torch.device,
    trust_code: bool,
) -> dict[str, object]:
    """Load detectors and surrogates, and return the attributes of an experiment."""
    if not detectors:
        raise UserError("there is no detector", hint="evaluate(detector, data=…)")
    loaded: list[Detector] = []
    specs: list[DetectorSpec | None] = []
    target = _device_of(detectors, device)
    for given in detectors:
        spec = None if isinstance(given, nn.Module) else _spec_of(given)
        one = load_detector(
            given if isinstance(given, nn.Module) else _spec_of(given), device=target, trust_code=trust_code
        )
        loaded.append(one)
        specs.append(spec)
    _name_apart(loaded)
    modules: dict[nn.Module, Detector] = {}
    pipelines = [_with_read_surrogates(pipeline, modules) for pipeline in pipelines]
    check_stages(pipelines)
    selection = data.selection
    check_masks(pipelines, selection)
    first = _first_sides(selection)
    for one in loaded:
        one.see(*first)
    precision = resolve_precision(settings.precision, target)
    computing = ComputeSettings(
        settings.seed, settings.objective, settings.mode, precision, target.type, 1, HALF
    )
    thresholds = {one.name: _threshold_of(one, threshold) for one in loaded}
    surrogates: dict[object, Detector] = {}
    for pipeline in pipelines:
        for stage in pipeline.stages:
            if stage.surrogate is not None and stage.surrogate not in surrogates:
                surrogate = stage.surrogate
                assert isinstance(surrogate, Detector | DetectorSpec)
                surrogates[surrogate] = load_detector(surrogate, device=target, trust_code=trust_code)
                surrogates[surrogate].see(*first)
    check_detectors(list(pipelines), loaded, surrogates)
    return {
        "scenario": settings, "pipelines": (Pipeline(CLEAN), *pipelines), "detectors": tuple(loaded),
        "selection": selection, "device": target, "settings": computing, "thresholds": thresholds,
        "surrogates": surrogates, "specs": tuple(specs), "trust_code": trust_code,
    }  # fmt: skip


def _with_read_surrogates(pipeline: Pipeline, modules: dict[nn.Module, Detector]) -> Pipeline:
    """Return a pipeline whose surrogates are detectors or declarations of detectors; each module becomes a detector."""

    def read(stage: Stage) -> Stage:
        given = stage.surrogate
        if given is None or isinstance(given, Detector):
            return stage
        if isinstance(given, nn.Module):
            return replace(stage, surrogate=modules.setdefault(given, Detector(given)))
        return replace(stage, surrogate=_spec_of(given))

    smaller = None if pipeline.smaller is None else _with_read_surrogates(pipeline.smaller, modules)
    return replace(pipeline, stages=tuple(map(read, pipeline.stages)), smaller=smaller)


def _spec_of(given: object) -> DetectorSpec:
    if isinstance(given, DetectorSpec):
        return given
    if isinstance(given, Mapping):
        return validated_values(DetectorSpec, dict(given), "a detector")
    if isinstance(given, str | PathLike):
        return DetectorSpec.from_text(fspath(given), None, Path())
    raise UserError(
        f"a detector is a {type(given).__name__}", hint="give a Detector, an nn.Module, an id, or a file"
    )


def _device_of(detectors: Sequence[object], device: str | torch.device) -> torch.device:
    """Return the given device, or the device of the modules in memory."""
    devices = {
        tensor.device
        for given in detectors
        if isinstance(given, nn.Module)
        for tensor in (*given.parameters(), *given.buffers())
    }
    if len(devices) > 1:
        raise UserError(
            f"the modules are on several devices: {', '.join(sorted(map(str, devices)))}",
            hint="move them to one",
        )
    if str(device) == "auto":
        return devices.pop() if devices else resolve_device("auto")
    wanted = resolve_device(str(device))
    if devices and next(iter(devices)) != wanted:
        raise UserError(
            f"the module is on {next(iter(devices))}, and device={wanted} was given",
            hint=f"module.to('{wanted}')",
        )
    return wanted


def _name_apart(detectors: Sequence[Detector]) -> None:
    """Give detectors of one name numbers."""
    counts = Counter(detector.name for detector in detectors)
    seen: Counter[str] = Counter()
    for detector in detectors:
        if counts[detector.name] > 1:
            seen[detector.name] += 1
            detector.name = f"{detector.name} ({seen[detector.name]})"


def _first_sides(selection: Selection) -> tuple[int, int]:
    """Return height and width of the first image that can be read."""
    for index in selection.indices:
        try:
            levels = decode(read_encoded(selection.source, index))
        except UnreadableImageError:
            continue
        return levels.shape[1], levels.shape[2]
    return 64, 64


def _threshold_of(detector: Detector, given: float | str | None) -> Threshold:
    if given is None:
        return detector.threshold
    return HALF if isinstance(given, str) else Threshold.at(given)
