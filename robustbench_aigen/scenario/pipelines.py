"""The pipelines of a scenario file, and where a mistake in them stands."""

from dataclasses import replace

from robustbench_aigen.documents.document import PartError
from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline, expand
from robustbench_aigen.stages.stage import Stage, stage_from_dict


def expand_pipelines(loaded: Scenario) -> list[Pipeline]:
    """Return the pipelines of a scenario, one for each combination of swept values, ``clean`` first.

    Raises
    ------
    UserError
        For an unknown attack, perturbation or parameter, or a value out of range; with file and line.
    """
    pipelines = [Pipeline(CLEAN)]
    share = loaded.mode == "accuracy" and loaded.share_sweeps
    for name, stages in loaded.pipelines.items():
        path: Path_ = ("pipelines", name) if name.strip() else ("pipelines",)
        read = [_stage(loaded, stage, (*path, position)) for position, stage in enumerate(stages)]
        try:
            pipelines += expand(name, read, share=share)
        except UserError as error:
            raise error.at(loaded.where(*path)) from None
    return pipelines


def _stage(loaded: Scenario, stage: dict[str, object], path: Path_) -> Stage:
    def surrogate(value: object) -> DetectorSpec:
        return loaded.part(DetectorSpec, value, *path, "surrogate")

    try:
        return replace(stage_from_dict(stage, loaded.folder, surrogate), source=loaded.where(*path))
    except PartError as error:
        raise error.at(loaded.where(*path, *error.path)) from None
