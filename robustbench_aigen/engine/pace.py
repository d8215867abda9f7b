"""Measured seconds per image of a detector: for a verdict, a step, a query and a perturbation."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine.batch import attack_batch
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.identity import ComputeSettings
from robustbench_aigen.engine.pipeline_state import PipelineState
from robustbench_aigen.engine.shards import ShardImages
from robustbench_aigen.engine.sizes import attack_groups
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.precision import gradient_precision
from robustbench_aigen.numerics.seeding import SampleStreams, preserved_global_rng
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.pipeline import Pipeline
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, Perturbation, Stage, make_stage

_FEW = 4
"""Number of images for timing the work outside the network: codecs, rounding, image quality."""
_SHORT, _LONG = 1, 4
"""Steps of the two attacks between which the time of a step is taken."""
_QUERIES = 3
"""Queries of the longer black-box attack, for each of its steps."""


class Pace(NamedTuple):
    """Seconds for an image.

    Attributes
    ----------
    verdict, single
        A verdict in a batch, and alone.
    gradient
        A step of an attack that follows gradients, in a batch; NaN for a detector without any.
    query
        A query of a black-box attack of the package, in a batch.
    beside
        Other work per attacked image: rounding, the search on the 8-bit grid, image quality.
    perturbed
        A perturbation with the image quality after it, by the name of the recipe. What is not there takes nothing.
    """

    verdict: float
    single: float
    gradient: float
    query: float
    beside: float = 0.0
    perturbed: Mapping[str, float] = MappingProxyType({})


def network_pace(
    detector: Detector, batch_size: int, device: torch.device, precision: Literal["fp32", "bf16"]
) -> Pace:
    """Return the pace of a network alone, timed on grey images; all other work counts as 0."""
    height, width = detector.preprocessing.input_size or (224, 224)
    pixels = torch.full((batch_size, 3, height, width), 0.5, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)

    def verdict() -> None:
        with torch.no_grad():
            detector(pixels).cpu()

    def single() -> None:
        with torch.no_grad():
            detector(pixels[:1]).cpu()

    def gradient() -> None:
        leaf = pixels.clone().requires_grad_()
        with gradient_precision(precision, device):
            loss = functional.cross_entropy(detector(leaf), labels)
            torch.autograd.grad(loss, leaf)[0].cpu()

    # No gradients are timed on a detector without gradients.
    gradients = _warm(gradient) / batch_size if detector.differentiable else float("nan")
    seconds = _warm(verdict) / batch_size
    return Pace(seconds, _warm(single), gradients, seconds)


def measured_pace(
    detector: Detector,
    stages: Sequence[Stage],
    images: ShardImages,
    settings: ComputeSettings,
    device: torch.device,
) -> Pace:
    """Return the pace on real images, timed with the attacks and perturbations themselves.

    Parameters
    ----------
    detector
        The detector, on the device.
    stages
        The stages to time, with composed attacks as their parts.
    images
        A batch or less, at their own sizes; of several sizes, as many as an attack takes together.
    settings
        Batch size, precision and seed. No record is kept.
    device
        The device.
    """
    images = _chosen(images, range(min(settings.batch_size, len(images.levels))))
    few = _chosen(images, range(min(_FEW, len(images.levels))))
    attacks = [stage for stage in stages if isinstance(stage, Attack)]
    with preserved_global_rng():
        network = network_pace(detector, len(images.levels), device, settings.precision)
        gradient, query, beside = network.gradient, network.query, 0.0
        if detector.differentiable and any(stage.recipe.access == "gradients" for stage in attacks):
            gradient = _slope(_bound("pgd"), 1, detector, images, settings, device)
        if any(stage.recipe.access != "gradients" for stage in attacks):
            query = _slope(_bound("square"), _QUERIES, detector, images, settings, device)
        if attacks and detector.differentiable:
            one = _bound("pgd", steps=1)
            beside = max(0.0, _cell_seconds(one, detector, few, settings, device) - gradient)
        perturbed: dict[str, float] = {}
        for stage in stages:
            if isinstance(stage, Perturbation) and stage.recipe.name not in perturbed:
                seconds = _cell_seconds(stage, detector, few, settings, device)
                perturbed[stage.recipe.name] = max(0.0, seconds - network.verdict)
    return network._replace(gradient=gradient, query=query, beside=beside, perturbed=perturbed)


def _bound(name: str, **params: Value) -> Attack:
    recipe = shipped_attack(name)
    # The smallest change of a level: nothing of the time depends on it.
    return make_stage(recipe, {"norm": "linf", "eps": 1 / LEVELS, **params})


def _chosen(images: ShardImages, rows: Sequence[int]) -> ShardImages:
    return ShardImages(
        [images.samples[row] for row in rows],
        [images.levels[row] for row in rows],
        [images.hashes[row] for row in rows],
        [],
    )


def _slope(
    stage: Attack,
    scale: int,
    detector: Detector,
    images: ShardImages,
    settings: ComputeSettings,
    device: torch.device,
) -> float:
    """Return the seconds per image of one more step of an attack, if every image takes every step."""
    groups = attack_groups((stage,), detector, None, images.levels, range(len(images.levels)))
    images = _chosen(images, max(groups, key=len))
    labels = torch.tensor([sample.label for sample in images.samples])
    streams = SampleStreams(settings.seed, tuple(sample.id for sample in images.samples), 0)

    def attack(steps: int) -> None:
        bound = stage.with_values(steps=steps)
        attack_batch(
            bound, detector, images.levels, labels, streams, threshold=settings.threshold, early_stop=False,
            batch_size=settings.batch_size, device=device, precision=settings.precision, surrogate=None,
            advance=_ignore,
        )  # fmt: skip

    attack(_SHORT)
    short, long = (_seconds(partial(attack, scale * steps)) for steps in (_SHORT, _LONG))
    count = len(images.levels) * scale
    # On a machine with other work the longer one may come out shorter.
    return max(long - short, long / _LONG / 4) / (_LONG - _SHORT) / count


def _cell_seconds(
    stage: Stage, detector: Detector, images: ShardImages, settings: ComputeSettings, device: torch.device
) -> float:
    """Return the seconds of a whole cell for an image."""
    cell = Cell(detector, Pipeline("", (stage,)), settings, device)
    clean = torch.zeros(len(images.levels))
    first = _chosen(images, range(1))
    cell.run(first, clean[:1], _unshared, _ignore)
    return _seconds(lambda: cell.run(images, clean, _unshared, _ignore)) / len(images.levels)


def _unshared(_length: int, make: Callable[[], PipelineState]) -> PipelineState:
    return make()


def _ignore(images: int) -> None:
    del images


def _warm(call: Callable[[], object]) -> float:
    """Time the second call: the first one warms up."""
    call()
    return _seconds(call)


def _seconds(call: Callable[[], object]) -> float:
    clock = time.perf_counter()
    call()
    return time.perf_counter() - clock
