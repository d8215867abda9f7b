"""Selection of the numbers of a gate: names and patterns of a ``gate:`` block, applied to two runs."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.metrics.metric import METRICS, gated_metric
from robustbench_aigen.metrics.summary import ALL_GENERATORS, scores_compare
from robustbench_aigen.runs.info import PipelineInfo, RunOutline
from robustbench_aigen.scenario.gate_spec import Floor, GateSpec, read_floor


class GatedNumber(NamedTuple):
    """One number: a metric of a detector (by its name in the current run) in a cell on some generator's images.

    ``floor`` is what it may not fall below, None if compared with the baseline.
    """

    detector: str
    pipeline: str
    generator: str
    metric: str
    floor: float | None = None


def matching(patterns: Iterable[str], names: Iterable[str] | Mapping[str, str], what: str) -> list[str]:
    """Return the names that patterns mean, in the order of ``names``.

    A pattern is a name, the name of a sweep, or has ``*`` and ``?`` in it.

    Parameters
    ----------
    patterns
        The wanted names and patterns.
    names
        The known names; for pipelines, the family of each by its name.
    what
        Names of what, for messages.

    Raises
    ------
    UserError
        If one of them means none.
    """
    families = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    chosen: set[str] = set()
    for pattern in patterns:
        form = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        hits = {
            name
            for name, family in families.items()
            if pattern in {name, family} or re.fullmatch(form, name, re.DOTALL)
        }
        if not hits:
            known = {*families, *families.values()}
            raise UserError(f"no {what} '{pattern}'", hint=did_you_mean(pattern, known))
        chosen |= hits
    return [name for name in families if name in chosen]


def check_metrics(spec: GateSpec) -> None:
    """Refuse metrics that a gate cannot check.

    Raises
    ------
    UserError
        For the first of them, with its place in the file.
    """
    named: list[tuple[str, Path_]] = [(name, ("metrics", place)) for place, name in enumerate(spec.metrics)]
    named += [(read_floor(text).metric, ("floors", place)) for place, text in enumerate(spec.floors)]
    for name, place in named:
        try:
            gated_metric(name)
        except UserError as error:
            raise error.at(spec.where(*place)) from error


def has_meaning(metric: str, pipeline: PipelineInfo, mode: str) -> bool:
    """Whether a metric of a pipeline means something: scores after a final attack in accuracy mode do not compare."""
    return not METRICS[metric].of_scores or scores_compare(pipeline.kinds, mode)


def select_checks(spec: GateSpec, outline: RunOutline, families: Mapping[str, str]) -> list[GatedNumber]:
    """Return the numbers to compare with the baseline: every detector, gated pipeline, generator and metric.

    Parameters
    ----------
    spec
        The gate's settings.
    outline
        The outline of the current run.
    families
        The pipelines to choose from, the family of each by its name.

    Raises
    ------
    UserError
        If a name is unknown, or none of the chosen numbers is defined.
    """
    pipelines = outline.pipelines
    chosen = matching(spec.pipelines, families, "pipeline")
    generators = matching(spec.generators, [ALL_GENERATORS, *outline.generators], "generator")

    def is_meant(metric: str, name: str) -> bool:
        return name not in pipelines or has_meaning(metric, pipelines[name], outline.mode)

    for metric in spec.metrics:
        if not any(is_meant(metric, name) for name in chosen):
            raise UserError(
                f"{metric} is undefined after a final attack in accuracy mode",
                hint="run the scenario with 'mode: score', or gate accuracy, tpr and tnr",
            )
    return [
        GatedNumber(detector, pipeline, generator, metric)
        for detector in outline.detectors
        for pipeline in chosen
        for generator in generators
        for metric in dict.fromkeys(spec.metrics)
        if is_meant(metric, pipeline)
    ]


def select_floors(spec: GateSpec, outline: RunOutline) -> list[GatedNumber]:
    """Return the numbers of the current run that have a floor.

    Raises
    ------
    UserError
        If a name is of nothing, or the number has no meaning.
    """
    return [check for text in spec.floors for check in _floor_checks(text, read_floor(text), outline)]


def _floor_checks(text: str, floor: Floor, outline: RunOutline) -> list[GatedNumber]:
    pipelines = matching([floor.pipeline], outline.families, "pipeline")
    everywhere = [ALL_GENERATORS, *outline.generators]
    generators = matching([floor.generator or ALL_GENERATORS], everywhere, "generator")
    detectors = outline.detectors
    if floor.detector is not None:
        detectors = matching([floor.detector], outline.detectors, "detector")
    for pipeline in pipelines:
        if not has_meaning(floor.metric, outline.pipelines[pipeline], outline.mode):
            raise UserError(f"'{text}' is undefined after a final attack in accuracy mode")
    return [
        GatedNumber(detector, pipeline, generator, floor.metric, floor.value)
        for detector in detectors
        for pipeline in pipelines
        for generator in generators
    ]


def check_block(spec: GateSpec, outline: RunOutline) -> None:
    """Check that a scenario's ``gate:`` block names only parts of its runs.

    Parameters
    ----------
    spec
        The block.
    outline
        The outline of the scenario's runs.

    Raises
    ------
    UserError
        If a name is unknown, or a chosen number is undefined.
    """
    select_checks(spec, outline, outline.families)
    select_floors(spec, outline)
