"""How long a plan will take, from a timed batch per detector."""

import time
from collections.abc import Callable
from math import prod, sqrt
from typing import NamedTuple

import pandas as pd
import torch
from torch.nn import functional

from robustbench_aigen.attacks.execution import threat_of
from robustbench_aigen.attacks.native.ensemble import parts_of
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine.plan import Plan, default_batch_size
from robustbench_aigen.numerics.precision import gradient_precision
from robustbench_aigen.scenario.cells import BoundStage

_A_STEP = {
    "restarts": 1,
    "starts": 1,
    "searches": 1,
    "passes": 1,
    "scales": 1,
    "neighbours": 1,
    "tries": 1,
    "samples": 2,
    "coordinates": 2,
    "population": 5,
}
"""Parameters of the catalogue that multiply the work of a step, and by how much each of their units does."""


class Work(NamedTuple):
    """What an attack asks for an image at most: forward and backward passes, and forward passes alone."""

    gradients: int
    queries: int


def estimate_cells(plan: Plan) -> pd.DataFrame:
    """Return ``detector, pipeline, images, seconds`` per cell.

    An upper estimate: every image takes every step and every query, and nothing comes from the cache, from a
    smaller eps or from stopping at success. A budget that holds no other 8-bit image costs nothing. It leaves out
    decoding, perturbations, the search on the 8-bit grid (up to 17 verdicts and 10 gradients for what rounding loses),
    the further starts that ``auto`` gives close calls, and the trust probes.
    """
    rows = []
    paces = {detector.name: _pace(plan, detector) for detector in plan.detectors}
    surrogates = {spec: _pace(plan, detector) for spec, detector in plan.surrogates.items()}
    for detector in plan.detectors:
        pace = paces[detector.name]
        for pipeline in plan.pipelines:
            images = len(plan.selection.indices)
            seconds = pace.verdict
            for stage in pipeline.stages:
                if stage.kind == "attack" and threat_of(stage).reach != 0:
                    crafted_on = pace if stage.surrogate is None else surrogates[stage.surrogate]
                    seconds += _attack_seconds(stage, crafted_on)
            rows.append(
                {
                    "detector": detector.name,
                    "pipeline": pipeline.name,
                    "images": images,
                    "seconds": images * seconds,
                }
            )
    return pd.DataFrame(rows)


def work_of(stage: BoundStage) -> Work:
    """Return what an attack stage asks for an image, as far as its parameters tell."""
    each = [_own_work(part) for part in parts_of(stage)]
    return Work(sum(work.gradients for work in each), sum(work.queries for work in each))


def _own_work(stage: BoundStage) -> Work:
    params = stage.params
    count = int(params.get("steps") or 1)
    if params["backend"] == "native":  # The libraries draw once a query.
        count *= stage.eot
    count *= prod(factor * int(params.get(name) or 1) for name, factor in _A_STEP.items() if name in params)
    if float(params.get("widened") or 1) > 1:
        count += -(-count // 2)
    if "evaluations" in params:  # HopSkipJump's estimates grow as √step.
        first = int(params["evaluations"] or 1)
        count = round(sum(first * sqrt(step) for step in range(1, count + 1)))
    return Work(count, 0) if stage.recipe.access == "gradients" else Work(0, count)


class _Pace(NamedTuple):
    """Seconds for an image: a verdict in a batch, a verdict alone, a forward and backward pass in a batch."""

    verdict: float
    single: float
    gradient: float


def _attack_seconds(stage: BoundStage, pace: _Pace) -> float:
    seconds = 0.0
    for part in parts_of(stage):
        work = _own_work(part)
        # The libraries' black-box attacks go through the detector one image at a time.
        query = pace.verdict if part.params["backend"] == "native" else pace.single
        seconds += work.gradients * pace.gradient if work.gradients else 0
        seconds += work.queries * query
    return seconds


def _pace(plan: Plan, detector: Detector) -> _Pace:
    batch = plan.loaded.scenario.batch_size or default_batch_size(detector, plan.device)
    height, width = detector.preprocessing.input_size or (224, 224)
    pixels = torch.full((batch, 3, height, width), 0.5, device=plan.device)
    labels = torch.zeros(batch, dtype=torch.long, device=plan.device)

    def verdict() -> None:
        with torch.no_grad():
            detector(pixels).cpu()

    def single() -> None:
        with torch.no_grad():
            detector(pixels[:1]).cpu()

    def gradient() -> None:
        leaf = pixels.clone().requires_grad_()
        with gradient_precision(plan.settings.precision, plan.device):
            loss = functional.cross_entropy(detector(leaf), labels)
            torch.autograd.grad(loss, leaf)[0].cpu()

    # A detector without gradients is not asked for any.
    gradients = _seconds(gradient) / batch if detector.differentiable else float("nan")
    return _Pace(_seconds(verdict) / batch, _seconds(single), gradients)


def _seconds(call: Callable[[], None]) -> float:
    """Time the second call: the first one warms up."""
    call()
    clock = time.perf_counter()
    call()
    return time.perf_counter() - clock
