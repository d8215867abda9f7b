"""Which numbers a gate looks at: names and patterns of a ``gate:`` block against what two runs hold."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from robustbench_aigen.documents.located_yaml import Path_
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.metrics.metric import METRICS, gated_metric
from robustbench_aigen.metrics.summary import ALL_GENERATORS, scores_compare
from robustbench_aigen.scenario.gate_spec import Floor, GateSpec, read_floor


class Check(NamedTuple):
    """One number: a metric of a detector (by its name in the current run) in a cell on some generator's images.

    ``floor`` is what it may not fall below, None where it is held against the baseline.
    """

    detector: str
    pipeline: str
    generator: str
    metric: str
    floor: float | None = None


def matching(patterns: Iterable[str], names: Sequence[str], what: str) -> list[str]:
    """Return the names that patterns mean, in the order of ``names``.

    A pattern is a name, the name of a sweep, or has ``*`` and ``?`` in it.

    Raises
    ------
    UserError
        If one of them means none.
    """
    found: set[str] = set()
    for pattern in patterns:
        form = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        hits = {
            name
            for name in names
            if pattern in {name, name.partition("[")[0]} or re.fullmatch(form, name, re.DOTALL)
        }
        if not hits:
            bases = {name.partition("[")[0] for name in names}
            raise UserError(f"no {what} '{pattern}'", hint=did_you_mean(pattern, {*names, *bases}))
        found |= hits
    return [name for name in names if name in found]


def check_metrics(
    spec: GateSpec, located: Callable[[UserError, Path_], UserError] = lambda error, _: error
) -> None:
    """Refuse metrics that no gate takes.

    Parameters
    ----------
    spec
        The gate's settings.
    located
        Returns an error with the place of a key of the settings.

    Raises
    ------
    UserError
        For the first of them.
    """
    named: list[tuple[str, Path_]] = [(name, ("metrics", place)) for place, name in enumerate(spec.metrics)]
    named += [(read_floor(text).metric, ("floors", place)) for place, text in enumerate(spec.floors)]
    for name, place in named:
        try:
            gated_metric(name)
        except UserError as error:
            raise located(error, place) from error


def has_meaning(metric: str, stages: Sequence[Mapping[str, Any]], mode: str) -> bool:
    """Whether a metric of a pipeline means something: scores after a final attack in accuracy mode do not compare."""
    kinds = ["attack" if "attack" in stage else "perturb" for stage in stages]
    return METRICS[metric].of_verdicts or scores_compare(kinds, mode)


def select_checks(spec: GateSpec, info: Mapping[str, Any], pipelines: Sequence[str]) -> list[Check]:
    """Return what is held against the baseline: every detector, gated pipeline, generator and metric.

    Parameters
    ----------
    spec
        The gate's settings.
    info
        Of the current run.
    pipelines
        Names of pipelines to choose from.

    Raises
    ------
    UserError
        If a name is of nothing, or no number that is asked for has a meaning.
    """
    mode = info["scenario"]["mode"]
    chosen = matching(spec.pipelines, pipelines, "pipeline")
    generators = matching(spec.generators, [ALL_GENERATORS, *info["data"]["generators"]], "generator")
    for metric in spec.metrics:
        if not any(has_meaning(metric, info["pipelines"].get(name, []), mode) for name in chosen):
            raise UserError(
                f"{metric} has no meaning after a final attack in accuracy mode",
                hint="run the scenario with 'mode: score', or gate accuracy, tpr and tnr",
            )
    return [
        Check(detector["name"], pipeline, generator, metric)
        for detector in info["detectors"]
        for pipeline in chosen
        for generator in generators
        for metric in dict.fromkeys(spec.metrics)
        if has_meaning(metric, info["pipelines"].get(pipeline, []), mode)
    ]


def select_floors(spec: GateSpec, info: Mapping[str, Any]) -> list[Check]:
    """Return what may not fall below a floor, in the current run.

    Raises
    ------
    UserError
        If a name is of nothing, or the number has no meaning.
    """
    return [check for text in spec.floors for check in _floor_checks(text, read_floor(text), info)]


def _floor_checks(text: str, floor: Floor, info: Mapping[str, Any]) -> list[Check]:
    pipelines = matching([floor.pipeline], list(info["pipelines"]), "pipeline")
    everywhere = [ALL_GENERATORS, *info["data"]["generators"]]
    generators = matching([floor.generator or ALL_GENERATORS], everywhere, "generator")
    names = [detector["name"] for detector in info["detectors"]]
    detectors = names if floor.detector is None else matching([floor.detector], names, "detector")
    for pipeline in pipelines:
        if not has_meaning(floor.metric, info["pipelines"][pipeline], info["scenario"]["mode"]):
            raise UserError(f"'{text}' has no meaning after a final attack in accuracy mode")
    return [
        Check(detector, pipeline, generator, floor.metric, floor.value)
        for detector in detectors
        for pipeline in pipelines
        for generator in generators
    ]


def check_block(spec: GateSpec, info: Mapping[str, Any]) -> None:
    """Find out whether a scenario's ``gate:`` block speaks of what its runs will hold.

    Parameters
    ----------
    spec
        The block.
    info
        As a ``run.json``: ``scenario`` (``mode``), ``pipelines``, ``detectors`` and ``data`` (``generators``).

    Raises
    ------
    UserError
        If a name is of nothing, or a number that is asked for has no meaning.
    """
    select_checks(spec, info, list(info["pipelines"]))
    select_floors(spec, info)
