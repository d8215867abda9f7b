"""Bounds on the queries that an experiment sends to services."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from robustbench_aigen.attacks.execution import threat_of
from robustbench_aigen.attacks.native.ensemble import parts_of
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.remote.network import services_of
from robustbench_aigen.detectors.remote.service import HttpService
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import Notice, about
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.stages.stage import Attack
from robustbench_aigen.text import counted

_GRID_SEARCH = 17
"""Verdicts of the search on the 8-bit grid for an image whose success is lost to rounding."""


class Bound(NamedTuple):
    """Most queries for an image in a pipeline.

    Parameters
    ----------
    judged, source
        Queries to the judged detector, and to the surrogate that the attacks are crafted on.
    is_certain
        False where an attack of a library decides the number itself: then the bound is an estimate.
    """

    judged: int = 0
    source: int = 0
    is_certain: bool = True


def image_bound(pipeline: Pipeline) -> Bound:
    """Return the most queries for an image in a pipeline besides those of the clean image, retries left out."""
    judged, source, is_certain, is_new = 0, 0, True, False
    for stage in pipeline.stages:
        if not isinstance(stage, Attack):
            is_new = True
            continue
        if threat_of(stage).reach == 0:
            continue
        # The verdict before the attack.
        judged += is_new or bool(stage.through)
        is_new = False
        for part in parts_of(stage):
            searched = _searched(part)
            is_own = part.surrogate is None
            source += 0 if is_own else searched
            judged += (searched if is_own else 0) + _judged(part, searched if is_own else 0)
            is_certain &= part.backend == "native" or part.recipe.access == "gradients"
    return Bound(judged + is_new, source, is_certain)


def _searched(stage: Attack) -> int:
    """Return the most queries of the search of an attack."""
    return stage.recipe.work(stage.params, stage.eot if stage.backend == "native" else 1).queries


def _judged(stage: Attack, searched: int) -> int:
    """Return the most queries for verdicts on 8-bit versions of what the search has seen.

    An image inside an L∞ budget of whole levels stays the image that was sent when it is rounded; then its verdict is
    known.
    """
    threat = threat_of(stage)
    lost = _GRID_SEARCH if stage.recipe.minimum_norm else 0
    if stage.surrogate is not None or stage.through:
        return 2 + int(stage.params.get("restarts") or 1) + searched + _GRID_SEARCH
    if threat.norm == "linf" and not threat.is_floored and stage.backend == "native":
        return lost
    return 2 + int(stage.params.get("restarts") or 1) + searched + _GRID_SEARCH


def cell_queries(experiment: Experiment, detector: Detector, pipeline: Pipeline) -> Mapping[HttpService, int]:
    """Return the most queries of a cell by service."""
    images, bound = len(experiment.selection.indices), image_bound(pipeline)
    found: dict[HttpService, int] = defaultdict(int)
    for service in services_of(detector):
        found[service] += images * (1 if pipeline.name == CLEAN else bound.judged)
    for surrogate in {stage.surrogate for stage in pipeline.attacks if stage.surrogate is not None}:
        for service in services_of(experiment.surrogates[surrogate]):
            found[service] += images * bound.source
    return found


def describe_queries(experiment: Experiment) -> Iterator[Notice]:
    """Yield a line for each service: the most queries of the experiment, their price, and the budget."""
    cells = [(detector, pipeline) for detector in experiment.detectors for pipeline in experiment.pipelines]
    totals: dict[HttpService, int] = defaultdict(int)
    for detector, pipeline in cells:
        for service, count in cell_queries(experiment, detector, pipeline).items():
            totals[service] += count
    if isinstance(experiment.scenario.threshold, str):
        fitted = _validation_images(experiment)
        for service in services_of(*experiment.detectors):
            totals[service] += fitted
    is_certain = all(image_bound(pipeline).is_certain for pipeline in experiment.pipelines)
    for service, count in totals.items():
        budget = service.spec.budget
        price = "" if budget is None or budget.per_query is None else f" for {budget.cost(count)}"
        most = "at most" if is_certain else "about"
        parts = [
            f"{most} {counted(count, 'query', 'queries')}{price} without retries; stored answers cost nothing"
        ]
        if not is_certain:
            parts.append("attacks of libraries decide their number themselves")
        if budget is None:
            parts.append("no budget")
        else:
            parts.append(f"budget {budget.limit}, {service.queries.sent} sent so far")
            if budget.limit - service.queries.sent < count:
                parts.append("the budget may end the run")
        yield about(service.name, "; ".join(parts))


def _validation_images(experiment: Experiment) -> int:
    try:
        return len(select(experiment.selection.source, "val", None).indices)
    except UserError:
        return 0  # The run reports the missing split.
