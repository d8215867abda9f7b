"""A run before it starts: everything that can be wrong with a scenario, its detectors and its data is found here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from robustbench_aigen.attacks.execution import check_attack, check_gradients, check_unchanging
from robustbench_aigen.data.inventory import describe, describe_briefly
from robustbench_aigen.data.opening import not_looked_at, open_data
from robustbench_aigen.data.selection import ALL, Selection, select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import describe_detector
from robustbench_aigen.detectors.loading import check_detector, load_detector
from robustbench_aigen.detectors.naming import name_apart
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.identity import Settings
from robustbench_aigen.errors import UserError
from robustbench_aigen.gating.selection import check_block
from robustbench_aigen.imports import import_function
from robustbench_aigen.notices import Notice
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.scenario.cells import BoundPipeline, expand_pipelines
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.located_yaml import Path_
from robustbench_aigen.scenario.schema import LoadedScenario


@dataclass
class Plan:
    """Everything that can be checked before the first image is attacked."""

    loaded: LoadedScenario
    pipelines: list[BoundPipeline]
    detectors: list[Detector]
    selection: Selection
    device: torch.device
    settings: Settings
    thresholds: dict[str, Threshold]
    surrogates: dict[DetectorSpec, Detector]
    trust_code: bool = False

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.detectors) * len(self.pipelines)

    def notices(self) -> list[Notice]:
        """Return how each detector and surrogate is read, in a line, and what looks wrong in the data."""
        loaded = {detector.name: detector for detector in (*self.detectors, *self.surrogates.values())}
        notices = [notice for detector in loaded.values() for notice in describe_detector(detector)]
        notices += [Notice(text) for text in self.selection.source.notices]
        labels = {sample.label for sample in self.selection.samples}
        if len(labels) == 1:
            present, absent = ("AI-generated", "real") if labels == {1} else ("real", "AI-generated")
            text = f"all images are {present}: numbers that need {absent} images too stay empty"
            notices.append(Notice(text))
        return notices

    def described_data(self) -> list[str]:
        """Return the layout of the data and its counts, in two lines."""
        return describe_briefly(self.selection.source)

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


def make_plan(loaded: LoadedScenario, *, device: str = "auto", trust_code: bool = False) -> Plan:
    """Bind pipelines, load detectors and select images.

    Raises
    ------
    UserError
        For whatever is wrong with the scenario, its detectors or its data.
    """
    scenario = loaded.scenario
    pipelines = _bound(loaded)
    target = resolve_device(device)
    detectors: list[Detector] = []
    for position, spec in enumerate(scenario.detectors):
        place = ("detectors", position)
        try:
            detector = load_detector(spec, folder=loaded.folder, device=target, trust_code=trust_code)
        except UserError as error:
            raise loaded.located(error, place) from error
        detectors.append(detector)
    name_apart(scenario.detectors, detectors)
    _check_names(loaded, detectors)
    selection = _selected(loaded)
    precision = resolve_precision(scenario.precision, target)
    settings = Settings(scenario.seed, scenario.objective, scenario.mode, precision, target.type, 1, HALF)
    # A rule is fitted when the run starts, on clean log-odds, which do not depend on the threshold.
    threshold = HALF if isinstance(scenario.threshold, str) else Threshold.at(scenario.threshold)
    thresholds = {detector.name: threshold for detector in detectors}
    surrogates = _load_surrogates(loaded, pipelines, target, trust_code=trust_code)
    _check_gradients(loaded, pipelines, detectors, surrogates)
    _check_gate(loaded, pipelines, detectors, selection)
    return Plan(loaded, pipelines, detectors, selection, target, settings, thresholds, surrogates, trust_code)


class Checked(NamedTuple):
    """What a scenario comes to: its cells and images, how the data lies, and what was not tried.

    ``images`` is None where they would have to be downloaded.
    """

    cells: int
    images: int | None
    data: list[str]
    notes: list[str]


def check_scenario(loaded: LoadedScenario) -> Checked:
    """Check a scenario without running code that comes with its detectors.

    Raises
    ------
    UserError
        As :func:`make_plan` does.
    """
    pipelines = _bound(loaded)
    notes: list[str] = []

    def checked(spec: DetectorSpec, place: Path_) -> Detector | None:
        try:
            result = check_detector(spec, folder=loaded.folder)
        except UserError as error:
            raise loaded.located(error, place) from error
        if isinstance(result, str):
            notes.append(result)
            return None
        return result

    scenario = loaded.scenario
    found = [checked(spec, ("detectors", position)) for position, spec in enumerate(scenario.detectors)]
    surrogates = {spec: checked(spec, place) for spec, place in _surrogate_specs(pipelines)}
    _check_gradients(
        loaded,
        pipelines,
        [detector for detector in found if detector is not None],
        {spec: detector for spec, detector in surrogates.items() if detector is not None},
    )
    name_apart(scenario.detectors, found)
    _check_names(loaded, found)
    cells = len(scenario.detectors) * len(pipelines)
    missing = not_looked_at(scenario.data)
    if missing:
        return Checked(cells, None, [], [*notes, missing])
    selection = _selected(loaded)
    known = [detector for detector in found if detector is not None]
    if len(known) == len(found):
        _check_gate(loaded, pipelines, known, selection)
    return Checked(cells, len(selection.indices), describe(selection.source), notes)


def _check_names(loaded: LoadedScenario, detectors: Sequence[Detector | None]) -> None:
    """Refuse two detectors of one name; None is one that was not loaded."""
    names: set[str] = set()
    for position, detector in enumerate(detectors):
        if detector is not None and detector.name in names:
            text = f"two detectors are called '{detector.name}'"
            hint = "give one a name: {path: FILE, name: other}"
            raise loaded.located(UserError(text, hint=hint), ("detectors", position))
        names |= set() if detector is None else {detector.name}


def _bound(loaded: LoadedScenario) -> list[BoundPipeline]:
    pipelines = expand_pipelines(loaded)
    for pipeline in pipelines:
        _check_stages(loaded, pipeline)
    return pipelines


def _selected(loaded: LoadedScenario) -> Selection:
    source = open_data(
        loaded.scenario.data, loaded.folder, lambda error, place: loaded.located(error, ("data", *place))
    )
    rule, split = loaded.scenario.threshold, loaded.scenario.data.split
    if isinstance(rule, str) and split in ("val", ALL):
        fault = UserError(
            f"'{rule}' is fitted on the validation split, which is what split: {split} evaluates"
        )
        raise loaded.located(fault, ("threshold",))
    try:
        return select(source, split, loaded.scenario.data.limit)
    except UserError as error:
        raise loaded.located(error, ("data", "split")) from error


def _surrogate_specs(pipelines: list[BoundPipeline]) -> Iterator[tuple[DetectorSpec, Path_]]:
    """Yield the detectors that attacks are crafted on, and where a scenario names them."""
    for pipeline in pipelines:
        for position, stage in enumerate(pipeline.stages):
            if stage.surrogate is not None:
                name = pipeline.name.partition("[")[0]
                yield stage.surrogate, ("pipelines", name, position, "surrogate")


def _check_gradients(
    loaded: LoadedScenario,
    pipelines: list[BoundPipeline],
    detectors: list[Detector],
    surrogates: Mapping[DetectorSpec, Detector],
) -> None:
    """Refuse attacks that follow gradients on detectors that have none, and attacks on detectors that change."""
    for pipeline in pipelines:
        for position in pipeline.attack_positions:
            stage = pipeline.stages[position]
            if stage.surrogate is None:
                crafted_on = detectors
            else:
                crafted_on = [surrogates[stage.surrogate]] if stage.surrogate in surrogates else []
            for detector in crafted_on:
                try:
                    check_gradients(stage, detector)
                    for judged in detectors:
                        check_unchanging(judged)
                except UserError as error:
                    place = ("pipelines", pipeline.name.partition("[")[0], position)
                    raise loaded.located(error, place) from error


def _load_surrogates(
    loaded: LoadedScenario, pipelines: list[BoundPipeline], device: torch.device, *, trust_code: bool
) -> dict[DetectorSpec, Detector]:
    """Load the detectors that attacks are crafted on."""
    surrogates: dict[DetectorSpec, Detector] = {}
    for spec, place in _surrogate_specs(pipelines):
        if spec in surrogates:
            continue
        try:
            surrogates[spec] = load_detector(spec, folder=loaded.folder, device=device, trust_code=trust_code)
        except UserError as error:
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
