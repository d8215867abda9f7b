"""Checks of a scenario before any computation; without torch if the package ships all named objects."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robustbench_aigen.attacks.requirements import (
    AttackedDetector,
    check_attack,
    check_gradients,
    check_unchanging,
)
from robustbench_aigen.data.inventory import describe
from robustbench_aigen.data.opening import check_layouts, not_looked_at, open_data, with_regions
from robustbench_aigen.data.selection import ALL, Selection, select
from robustbench_aigen.detectors.checking import KnownDetector, check_detector
from robustbench_aigen.detectors.naming import Named, name_apart
from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_function
from robustbench_aigen.registry import load_plugin
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.pipelines import expand_pipelines
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.stages.masks import read_mask
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.recipe_files import is_shipped
from robustbench_aigen.stages.stage import Attack, Perturbation, Stage

if TYPE_CHECKING:
    from robustbench_aigen.detectors.contract import Detector


def bound_pipelines(loaded: Scenario) -> list[Pipeline]:
    """Return every pipeline of a scenario after checking that the code of its recipes exists.

    Raises
    ------
    UserError
        If a stage is wrong, with file and line.
    """
    load_scenario_plugins(loaded)
    check_named_metrics(loaded)
    check_layouts(loaded.data)
    pipelines = expand_pipelines(loaded)
    check_stages(pipelines)
    return pipelines


def load_scenario_plugins(loaded: Scenario) -> None:
    """Import the plugin files that a scenario names.

    Raises
    ------
    UserError
        If one is missing or fails, with file and line of the scenario.
    """
    for position, name in enumerate(loaded.plugins):
        try:
            load_plugin(loaded.folder / Path(name).expanduser())
        except UserError as error:
            raise error.at(loaded.where("plugins", position)) from error


def check_named_metrics(loaded: Scenario) -> None:
    """Refuse metrics that do not exist, and those of the ``gate:`` block that no gate takes, with file and line."""
    if loaded.metrics:
        from robustbench_aigen.metrics.metric import check_optional

        try:
            check_optional(loaded.metrics)
        except UserError as error:
            raise error.at(loaded.where("metrics")) from error
    if loaded.gate is None:
        return
    from robustbench_aigen.runs.selection import (
        check_metrics,  # With pandas; few scenarios have such a block.
    )

    check_metrics(loaded.gate)


def check_names(loaded: Scenario, detectors: Sequence[Named | None]) -> None:
    """Refuse two detectors of one name; None is one that was not loaded."""
    names: set[str] = set()
    for position, detector in enumerate(detectors):
        if detector is not None and detector.name in names:
            text = f"two detectors are called '{detector.name}'"
            hint = "name one of them: {path: FILE, name: other}"
            raise UserError(text, source=loaded.where("detectors", position), hint=hint)
        names |= set() if detector is None else {detector.name}


def selected_images(loaded: Scenario) -> Selection:
    """Open the data of a scenario and choose its images.

    Raises
    ------
    UserError
        If there is no such data or split, or the split is what the threshold is fitted on.
    """
    source = open_data(loaded.data, loaded.folder)
    split = loaded.data.split
    fitted = {"threshold": loaded.threshold} if isinstance(loaded.threshold, str) else {}
    fitted |= {} if loaded.unsure is None else {"unsure": "unsure"}
    for key, name in fitted.items():
        if split in ("val", ALL):
            raise UserError(
                f"'{name}' is fitted on the validation split, and split: {split} evaluates the same images",
                source=loaded.where(key),
            )
    try:
        selection = select(source, split, loaded.data.limit)
    except UserError as error:
        raise error.at(loaded.data.where("split")) from error
    try:
        return with_regions(selection, loaded.data, loaded.folder)
    except UserError as error:
        raise error.at(loaded.data.where("mix")) from error


def surrogate_specs(pipelines: list[Pipeline]) -> Iterator[DetectorSpec]:
    """Yield the surrogates of the attacks."""
    for pipeline in pipelines:
        for stage in pipeline.stages:
            if isinstance(stage.surrogate, DetectorSpec):
                yield stage.surrogate


def check_detectors(
    pipelines: list[Pipeline],
    detectors: Sequence[AttackedDetector],
    surrogates: Mapping[object, AttackedDetector],
) -> None:
    """Refuse attacks that follow gradients on detectors that have none, and attacks on detectors that change."""
    for pipeline in pipelines:
        for stage in pipeline.attacks:
            if stage.surrogate is None:
                source_model = detectors
            else:
                source_model = [surrogates[stage.surrogate]] if stage.surrogate in surrogates else []
            for detector in source_model:
                try:
                    check_gradients(stage, detector)
                    for judged in detectors:
                        check_unchanging(judged)
                except UserError as error:
                    raise error.at(stage.source) from error


def check_gate(
    loaded: Scenario, pipelines: list[Pipeline], detectors: Sequence[Named], selection: Selection
) -> None:
    """Check that the scenario's ``gate:`` block names only cells and metrics of the run."""
    if loaded.gate is None:
        return
    # With pandas; few scenarios have such a block.
    from robustbench_aigen.runs.info import PipelineInfo, RunOutline
    from robustbench_aigen.runs.selection import check_block

    generators = sorted({sample.generator for sample in selection.samples if sample.label == 1})
    described = {each.name: PipelineInfo.of(each.to_dict()) for each in pipelines}
    names = [detector.name for detector in detectors]
    try:
        check_block(loaded.gate, RunOutline(loaded.mode, described, names, generators))
    except UserError as error:
        raise error.at(loaded.gate.where()) from error


class Checked(NamedTuple):
    """Result of the check of a scenario: cells, images, layout of the data, and the checks left out.

    ``images`` is None where they would have to be downloaded.
    """

    cells: int
    images: int | None
    data: list[str]
    notes: list[str]


def check_scenario(loaded: Scenario) -> Checked:
    """Check a scenario without running code that comes with its detectors.

    Raises
    ------
    UserError
        As :func:`make_experiment` does.
    """
    pipelines = bound_pipelines(loaded)
    notes: list[str] = []

    def checked(spec: DetectorSpec) -> "Detector | KnownDetector | None":
        try:
            result = check_detector(spec, folder=loaded.folder)
        except UserError as error:
            raise error.at(spec.where()) from error
        if isinstance(result, str):
            notes.append(result)
            return None
        return result

    scenario = loaded
    found = [checked(spec) for spec in scenario.detectors]
    surrogates = {spec: checked(spec) for spec in surrogate_specs(pipelines)}
    check_detectors(
        pipelines,
        [detector for detector in found if detector is not None],
        {spec: detector for spec, detector in surrogates.items() if detector is not None},
    )
    name_apart(scenario.detectors, found)
    check_names(loaded, found)
    cells = len(scenario.detectors) * len(pipelines)
    missing = not_looked_at(scenario.data)
    if missing:
        return Checked(cells, None, [], [*notes, missing])
    selection = selected_images(loaded)
    check_masks(pipelines, selection)
    known = [detector for detector in found if detector is not None]
    if len(known) == len(found):
        check_gate(loaded, pipelines, known, selection)
    return Checked(cells, len(selection.indices), describe(selection.source), notes)


def check_stages(pipelines: Sequence[Pipeline]) -> None:
    """Refuse pipelines whose recipes name missing code, and EXIF that no file would have."""
    for pipeline in pipelines:
        for stage in pipeline.stages:
            _check_exif(stage, is_last=stage is pipeline.stages[-1])
            try:
                _check_code(stage)
            except UserError as error:
                raise error.at(stage.source) from error


def check_masks(pipelines: Sequence[Pipeline], selection: Selection) -> None:
    """Refuse mask files that have another size than the images that they are for.

    Sizes are read from the headers of the images. Behind a perturbation, which may change the size, the engine checks.

    Raises
    ------
    UserError
        With the first image that does not fit.
    """
    for pipeline in pipelines:
        for place, stage in enumerate(pipeline.stages):
            mask = None if stage.mask is None else read_mask(stage.mask)
            is_first = all(isinstance(before, Attack) for before in pipeline.stages[:place])
            if mask is None or mask.shape != "file" or not is_first:
                continue
            # With torch, which scenarios without masks are checked without.
            from robustbench_aigen.data.audit.survey import survey_headers
            from robustbench_aigen.numerics.masks import file_size

            size = file_size(mask.text)
            for found in survey_headers(selection.source, selection.indices):
                own = (found.facts.height, found.facts.width)
                if own != size:
                    raise UserError(
                        f"mask '{mask.text}' has {size[0]}×{size[1]} pixels, and {found.sample.id} has {own[0]}×{own[1]}",
                        source=stage.source,
                        hint="give a mask of the size of the images, or box@, border@ or area@ for any size",
                    )


def _check_mask(stage: Stage) -> None:
    """Refuse a mask file that is missing or empty, and a mask on a perturbation that changes the size."""
    if stage.mask is None:
        return
    # With torch, which scenarios without masks are checked without.
    import torch

    from robustbench_aigen.numerics.masks import file_size
    from robustbench_aigen.numerics.seeding import SampleStreams
    from robustbench_aigen.perturbations.application import perturb

    mask, sides = read_mask(stage.mask), (64, 96)
    if mask.shape == "file":
        sides = file_size(mask.text)
    if isinstance(stage, Perturbation):
        perturb(stage, torch.zeros((1, 3, *sides), dtype=torch.uint8), SampleStreams(0, ("",), 0))


def _check_exif(stage: Stage, *, is_last: bool) -> None:
    """Refuse EXIF in ``through``, with a mask, and before another operation, which writes a new file."""
    for inner in (stage,) if isinstance(stage, Perturbation) else stage.through:
        if not inner.writes_exif:
            continue
        earlier = [operation for operation in inner.operations[:-1] if operation.recipe.exif is not None]
        problem = None
        if inner is not stage:
            problem = "writes into files, and 'through' changes pixels"
        elif inner.mask is not None:
            problem = "writes into a whole file, and takes no mask"
        elif earlier or not is_last:
            problem = "is followed by another operation, whose file has no EXIF"
        if problem is not None:
            raise UserError(
                f"{inner.recipe.name} {problem}", source=stage.source, hint="write it last, without a mask"
            )


def _check_code(stage: Stage) -> None:
    if isinstance(stage, Attack):
        check_attack(stage)
    _check_mask(stage)
    for inner in (stage,) if isinstance(stage, Perturbation) else stage.through:
        if inner is not stage:
            _check_mask(inner)
        for operation in inner.operations:
            recipe = operation.recipe
            if not is_shipped(recipe):
                import_function(recipe.implementation)
                for function in (recipe.differentiable, recipe.exif):
                    if function is not None:
                        import_function(function)
            if recipe.check is not None:
                # A model is loaded, with torch.
                import_function(recipe.check)(**recipe.arguments(operation.params))
