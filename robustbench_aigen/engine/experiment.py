"""A run before it starts: everything that can be wrong with a scenario, its detectors and its data is found here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from robustbench_aigen.data.inventory import describe_briefly
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import describe_detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.naming import name_apart
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.identity import Settings
from robustbench_aigen.engine.scenario_checks import (
    bound_pipelines,
    check_detectors,
    check_gate,
    check_names,
    selected_images,
    surrogate_specs,
)
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import Notice
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import RunSettings, Scenario
from robustbench_aigen.stages.pipeline import Pipeline


@dataclass(frozen=True)
class Experiment:
    """What to compute, checked as far as it can be before the first image is attacked.

    Parameters
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
        What a scenario says of the detectors; None for one that was in memory.
    trust_code
        Whether files may run code when they are loaded.
    """

    scenario: RunSettings
    pipelines: tuple[Pipeline, ...]
    detectors: tuple[Detector, ...]
    selection: Selection
    device: torch.device
    settings: Settings
    thresholds: Mapping[str, Threshold]
    surrogates: Mapping[object, Detector]
    specs: tuple[DetectorSpec | None, ...]
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

    def cell(self, detector: Detector, pipeline: Pipeline) -> Cell:
        """Return a cell with the settings of its detector."""
        settings = replace(
            self.settings,
            threshold=self.thresholds[detector.name],
            batch_size=self.scenario.batch_size or default_batch_size(detector, self.device),
        )
        return Cell(detector, pipeline, settings, self.device, self.surrogates)


def make_experiment(loaded: Scenario, *, device: str = "auto", trust_code: bool = False) -> Experiment:
    """Bind pipelines, load detectors and select images.

    Raises
    ------
    UserError
        For whatever is wrong with the scenario, its detectors or its data.
    """
    scenario = loaded
    pipelines = bound_pipelines(loaded)
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
    check_names(loaded, detectors)
    selection = selected_images(loaded)
    precision = resolve_precision(scenario.precision, target)
    settings = Settings(scenario.seed, scenario.objective, scenario.mode, precision, target.type, 1, HALF)
    # A rule is fitted when the run starts, on clean log-odds, which do not depend on the threshold.
    threshold = HALF if isinstance(scenario.threshold, str) else Threshold.at(scenario.threshold)
    thresholds = {detector.name: threshold for detector in detectors}
    surrogates = _load_surrogates(loaded, pipelines, target, trust_code=trust_code)
    check_detectors(loaded, pipelines, detectors, surrogates)
    check_gate(loaded, pipelines, detectors, selection)
    return Experiment(
        loaded,
        tuple(pipelines),
        tuple(detectors),
        selection,
        target,
        settings,
        thresholds,
        surrogates,
        tuple(scenario.detectors),
        trust_code,
    )


def _load_surrogates(
    loaded: Scenario, pipelines: list[Pipeline], device: torch.device, *, trust_code: bool
) -> dict[object, Detector]:
    """Load the detectors that attacks are crafted on."""
    surrogates: dict[object, Detector] = {}
    for spec, place in surrogate_specs(pipelines):
        if spec in surrogates:
            continue
        try:
            surrogates[spec] = load_detector(spec, folder=loaded.folder, device=device, trust_code=trust_code)
        except UserError as error:
            raise loaded.located(error, place) from error
    return surrogates
