"""A run before it starts: everything that can be wrong with a scenario, its detectors and its data is found here."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from robustbench_aigen.attacks.execution import check_attack
from robustbench_aigen.data.selection import Selection, open_source, select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.identity import Settings
from robustbench_aigen.errors import UserError
from robustbench_aigen.gating.selection import check_block
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.scenario.cells import BoundPipeline, expand_pipelines
from robustbench_aigen.scenario.schema import DetectorSpec, LoadedScenario


@dataclass
class Plan:
    """Everything that can be checked before the first image is attacked."""

    loaded: LoadedScenario
    pipelines: list[BoundPipeline]
    detectors: list[Detector]
    selection: Selection
    device: torch.device
    settings: Settings
    thresholds: dict[str, float]
    surrogates: dict[DetectorSpec, Detector]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.detectors) * len(self.pipelines)

    def notices(self) -> list[str]:
        """Return what was taken for granted of the detectors and found in the data that may not be meant."""
        notices = [f"{detector.name}: {text}" for detector in self.detectors for text in detector.assumptions]
        notices += self.selection.source.notices
        labels = {sample.label for sample in self.selection.samples}
        if len(labels) == 1:
            present, absent = ("AI-generated", "real") if labels == {1} else ("real", "AI-generated")
            notices.append(f"all images are {present}: what needs {absent} ones too stays empty")
        return notices

    def cell(self, detector: Detector, pipeline: BoundPipeline) -> Cell:
        """Return a cell with the settings of its detector."""
        settings = replace(
            self.settings,
            threshold=self.thresholds[detector.name],
            batch_size=self.loaded.scenario.batch_size or default_batch_size(detector, self.device),
        )
        return Cell(detector, pipeline, settings, self.device, self.surrogates)


def default_batch_size(detector: Detector, device: torch.device) -> int:
    """Return images per batch, from the input size alone, so that a cell's identity is the same everywhere.

    128 images of 32 pixels a side and down to 16 of 224 on a CPU, where more costs time for want of cache; eight
    times as many on a GPU.
    """
    height, width = detector.preprocessing.input_size or (224, 224)
    fitting = 2**17 // (height * width)
    size = min(128, max(16, 1 << max(fitting, 1).bit_length() - 1))
    return size * 8 if device.type == "cuda" else size


def make_plan(loaded: LoadedScenario, *, device: str = "auto") -> Plan:
    """Bind pipelines, load detectors and select images.

    Raises
    ------
    UserError
        For whatever is wrong with the scenario, its detectors or its data.
    """
    scenario = loaded.scenario
    pipelines = expand_pipelines(loaded)
    for pipeline in pipelines:
        _check_stages(loaded, pipeline)
    target = resolve_device(device)
    detectors: list[Detector] = []
    for position, spec in enumerate(scenario.detectors):
        place = ("detectors", position)
        try:
            detector = load_detector(spec, folder=loaded.folder, device=target)
        except UserError as error:
            raise loaded.located(error, place) from error
        if detector.name in [other.name for other in detectors]:
            raise loaded.yaml.error(f"two detectors are called '{detector.name}'", place, "give one a 'name'")
        detectors.append(detector)
    try:
        source = open_source(scenario.data.source, loaded.folder)
    except UserError as error:
        raise loaded.located(error, ("data", "source")) from error
    try:
        selection = select(source, scenario.data.split, scenario.data.limit)
    except UserError as error:
        raise loaded.located(error, ("data", "split")) from error
    precision = resolve_precision(scenario.precision, target)
    settings = Settings(scenario.seed, scenario.objective, scenario.mode, precision, target.type, 1, 0.5)
    # A rule is fitted when the run starts, on clean scores, which do not depend on the threshold.
    threshold = 0.5 if isinstance(scenario.threshold, str) else scenario.threshold
    # Scores are float32, and a tie is decided the same way by whoever reads the records.
    threshold = float(np.float32(threshold))
    thresholds = {detector.name: threshold for detector in detectors}
    surrogates = _load_surrogates(loaded, pipelines, target)
    _check_gate(loaded, pipelines, detectors, selection)
    return Plan(loaded, pipelines, detectors, selection, target, settings, thresholds, surrogates)


def _load_surrogates(
    loaded: LoadedScenario, pipelines: list[BoundPipeline], device: torch.device
) -> dict[DetectorSpec, Detector]:
    """Load the detectors that attacks are crafted on."""
    surrogates: dict[DetectorSpec, Detector] = {}
    for pipeline in pipelines:
        for position, stage in enumerate(pipeline.stages):
            if stage.surrogate is None or stage.surrogate in surrogates:
                continue
            try:
                surrogates[stage.surrogate] = load_detector(
                    stage.surrogate, folder=loaded.folder, device=device
                )
            except UserError as error:
                place = ("pipelines", pipeline.name.partition("[")[0], position, "surrogate")
                raise loaded.located(error, place) from error
    return surrogates


def _check_gate(
    loaded: LoadedScenario, pipelines: list[BoundPipeline], detectors: list[Detector], selection: Selection
) -> None:
    """Find out now whether the scenario's ``gate:`` block speaks of what the run will hold."""
    if loaded.scenario.gate is None:
        return
    generators = sorted({sample.generator for sample in selection.samples if sample.label == 1})
    info = {
        "scenario": {"mode": loaded.scenario.mode},
        "pipelines": {
            pipeline.name: [stage.as_dict() for stage in pipeline.stages] for pipeline in pipelines
        },
        "detectors": [{"name": detector.name} for detector in detectors],
        "data": {"generators": generators},
    }
    try:
        check_block(loaded.scenario.gate, info)
    except UserError as error:
        raise loaded.located(error, ("gate",)) from error


def _check_stages(loaded: LoadedScenario, pipeline: BoundPipeline) -> None:
    """Find out now whether the code that a pipeline's recipes name is there."""
    for stage in pipeline.stages:
        try:
            if stage.kind == "attack":
                check_attack(stage)
            for inner in stage.through if stage.kind == "attack" else (stage,):
                for operation in inner.recipe.operations(inner.params):
                    import_function(str(operation.recipe.implementation))
                    if operation.recipe.differentiable is not None:
                        import_function(operation.recipe.differentiable)
        except UserError as error:
            raise loaded.located(error, ("pipelines", pipeline.name.partition("[")[0])) from error
