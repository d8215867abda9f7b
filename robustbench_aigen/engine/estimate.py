"""How long a plan will take, from one timed batch per detector."""

import time

import pandas as pd
import torch
from torch.nn import functional

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine.plan import Plan
from robustbench_aigen.numerics.precision import gradient_precision
from robustbench_aigen.scenario.cells import BoundPipeline


def estimate_cells(plan: Plan) -> pd.DataFrame:
    """Return ``detector, pipeline, images, seconds`` per cell.

    An upper estimate, without what the cache saves and what stopping at success saves: images × (one verdict in
    float32 + per attack steps × restarts × forward and backward).
    """
    rows = []
    for detector in plan.detectors:
        verdict, gradient = _seconds_per_image(plan, detector)
        for pipeline in plan.pipelines:
            images = len(plan.selection.indices)
            seconds = images * (verdict + _gradient_steps(pipeline) * gradient)
            rows.append(
                {"detector": detector.name, "pipeline": pipeline.name, "images": images, "seconds": seconds}
            )
    return pd.DataFrame(rows)


def _gradient_steps(pipeline: BoundPipeline) -> int:
    attacks = [stage.params for stage in pipeline.stages if stage.kind == "attack"]
    return sum(int(params.get("steps") or 1) * int(params.get("restarts") or 1) for params in attacks)


def _seconds_per_image(plan: Plan, detector: Detector) -> tuple[float, float]:
    batch = plan.cell(detector, plan.pipelines[0]).settings.batch_size
    height, width = detector.preprocessing.input_size or (224, 224)
    pixels = torch.full((batch, 3, height, width), 0.5, device=plan.device)
    labels = torch.zeros(batch, dtype=torch.long, device=plan.device)

    def verdict() -> None:
        with torch.no_grad():
            detector(pixels).cpu()

    def gradient() -> None:
        leaf = pixels.clone().requires_grad_()
        with gradient_precision(plan.settings.precision, plan.device):
            loss = functional.cross_entropy(detector(leaf), labels)
            torch.autograd.grad(loss, leaf)[0].cpu()

    times = []
    for step in (verdict, gradient):
        step()
        clock = time.perf_counter()
        step()
        times.append((time.perf_counter() - clock) / batch)
    return times[0], times[1]
