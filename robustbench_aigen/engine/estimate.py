"""Estimates of the time of an experiment, from a timed batch per detector."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from robustbench_aigen.attacks.execution import threat_of
from robustbench_aigen.attacks.native.ensemble import parts_of, shares_of_parts
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.remote.network import services_of
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.pace import Pace, network_pace
from robustbench_aigen.stages.cost import Work
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.stage import Attack, Stage

FALLEN = 0.25
"""Rough share of an attack's steps that a fooled image takes."""


class Standing(NamedTuple):
    """Share of images judged right, and share of these that withstand an attack."""

    right: float = 1.0
    held: float = 1.0

    @classmethod
    def of(cls, balanced: float, robust: float) -> "Standing":
        """Return the shares for given balanced accuracies, clean and attacked."""
        return cls(balanced, robust / balanced if balanced > 0 else 0.0)


def estimate_cells(experiment: Experiment) -> pd.DataFrame:
    """Return ``detector, pipeline, images, seconds`` per cell.

    An upper estimate: every image takes every step and every query, and nothing comes from the cache, from a
    smaller eps or from stopping at success. A budget that holds no other 8-bit image costs nothing. It leaves out
    decoding, perturbations, the search on the 8-bit grid (up to 17 verdicts and 10 gradients for what rounding loses),
    the further starts that ``auto`` gives close calls, and the trust probes.

    With a detector behind HTTP there is a column ``queries``, the most queries to services
    (:mod:`robustbench_aigen.engine.query_bounds`). Nothing is sent: the seconds of such a detector follow from its rate
    limit, and are NaN without a rate limit.
    """
    from robustbench_aigen.engine.query_bounds import (
        cell_queries,  # It knows experiments, which offer estimates.
    )

    is_queried = bool(services_of(*experiment.detectors, *experiment.surrogates.values()))
    rows: list[dict[str, object]] = []
    paces = {detector.name: _pace(experiment, detector) for detector in experiment.detectors}
    surrogates = {spec: _pace(experiment, detector) for spec, detector in experiment.surrogates.items()}
    for detector in experiment.detectors:
        pace = paces[detector.name]
        for pipeline in experiment.pipelines:
            images = len(experiment.selection.indices)
            seconds = cell_seconds(pipeline, pace, surrogates, Standing())
            rows.append(
                {
                    "detector": detector.name,
                    "pipeline": pipeline.name,
                    "images": images,
                    "seconds": images * seconds,
                }
            )
            if is_queried:
                rows[-1]["queries"] = sum(cell_queries(experiment, detector, pipeline).values())
    return pd.DataFrame(rows)


def _pace(experiment: Experiment, detector: Detector) -> Pace:
    services = services_of(detector)
    if services:
        # Every image that is timed would cost a query.
        query = sum(1 / service.spec.rate if service.spec.rate else math.nan for service in services)
        return Pace(query, query, math.nan, query)
    batch_size = experiment.scenario.batch_size or default_batch_size(detector, experiment.device)
    return network_pace(detector, batch_size, experiment.device, experiment.settings.precision)


def work_of(stage: Attack) -> Work:
    """Return the largest work of an attack stage per image."""
    # The libraries draw once a query.
    return stage.recipe.work(stage.params, stage.eot if stage.backend == "native" else 1)


def stages_of(pipelines: Iterable[Pipeline]) -> list[Stage]:
    """Return every stage of some pipelines, with composed attacks as their parts."""
    stages = [stage for pipeline in pipelines for stage in pipeline.stages]
    return [part for stage in stages for part in (parts_of(stage) if isinstance(stage, Attack) else [stage])]


def cell_seconds(
    pipeline: Pipeline,
    pace: Pace,
    surrogates: Mapping[object, Pace],
    standing: Standing,
) -> float:
    """Return the seconds of a cell for an image.

    Parameters
    ----------
    pipeline, pace
        The pipeline of the cell, and the pace of the detector.
    surrogates
        Paces of the surrogates.
    standing
        Images judged right are attacked. Survivors of an attack take all of its steps; the others take a
        part of the steps of the attack that fools them, and nothing of those after it.
    """
    seconds = pace.verdict
    for position, stage in enumerate(pipeline.stages):
        if not isinstance(stage, Attack):
            seconds += pace.perturbed.get(stage.recipe.name, 0.0)
        elif threat_of(stage).reach != 0:
            is_early = position == len(pipeline.stages) - 1 and stage.is_judged_as_crafted
            source_model = pace if stage.surrogate is None else surrogates[stage.surrogate]
            held = standing.held
            if stage.recipe.access != "gradients":
                # What gradients find at once, a black box finds late or never: about half of it.
                held = (1 + held) / 2
            held = held if is_early else 1.0
            seconds += standing.right * (pace.beside + _attack_seconds(stage, source_model, held))
    return seconds


def _attack_seconds(stage: Attack, pace: Pace, held: float) -> float:
    seconds = 0.0
    for number, (part, share) in enumerate(zip(parts_of(stage), shares_of_parts(stage), strict=True)):
        work = work_of(part)
        # The libraries' black-box attacks go through the detector one image at a time.
        query = pace.query if part.params["backend"] == "native" else pace.single
        own = work.gradients * pace.gradient if work.gradients else 0.0
        own += work.queries * query
        seconds += share * own * (held + (1 - held) * (FALLEN if number == 0 else 0.0))
    return seconds


def write_duration(seconds: float) -> str:
    """Return an estimated time as text, rounded to its precision.

    >>> write_duration(17.6), write_duration(93), write_duration(600), write_duration(9_000)
    ('18 s', '1.6 min', '10 min', '2.5 h')
    """
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    number, unit = (seconds / 60, "min") if seconds < 5400 else (seconds / 3600, "h")
    return f"{number:.0f} {unit}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0") + f" {unit}"
