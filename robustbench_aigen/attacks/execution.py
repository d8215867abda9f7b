"""Runs one attack stage: picks the backend, verifies the returned pixels, rounds them to 8 bits and judges them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.adv_lib_adapter import run_adv_lib
from robustbench_aigen.attacks.art_adapter import run_art
from robustbench_aigen.attacks.foolbox_adapter import run_foolbox
from robustbench_aigen.attacks.in_memory import FoolboxAttack, FunctionAttack, run_in_memory
from robustbench_aigen.attacks.judgement import judge
from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.attacks.requirements import check_gradients
from robustbench_aigen.attacks.task import AttackChunk, AttackFunction, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel, level_distance, level_distances
from robustbench_aigen.attacks.torchattacks_adapter import run_torchattacks
from robustbench_aigen.attacks.users_faults import users_faults
from robustbench_aigen.attacks.verification import AttackContractError, surroundings_kept
from robustbench_aigen.detectors.borrowing import borrowed, borrowers
from robustbench_aigen.detectors.contract import DeployedDetector, Detector
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.masks import masks_of
from robustbench_aigen.numerics.memory import batch_in_reused_memory
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe import ObjectRecipe
from robustbench_aigen.stages.stage import Attack


class AttackOutcome(NamedTuple):
    """Attacked images, in the order of the task.

    ``levels`` is N×3×H×W uint8 on the CPU, before the task's ``through``; ``log_odds`` are those of *fake* after it.
    ``correct_float`` is the verdict on the image before rounding; ``linf`` and ``l2`` the size of the 8-bit
    perturbation in pixel units. ``distance`` is, after a minimum-norm attack, the length of the 8-bit perturbation in the
    unit of the budget, and infinite where the verdict is right; NaN after another attack. ``chains`` are the
    perturbations that made an image, as stages of a scenario; empty for attacks that do not consist of perturbations.
    ``found_by`` names the part of the attack that made an image; empty for attacks of one part.
    """

    levels: Tensor
    log_odds: Tensor
    correct_float: Tensor
    linf: Tensor
    l2: Tensor
    distance: Tensor
    steps: Tensor
    queries: Tensor
    chains: list[str]
    found_by: list[str]


def threat_of(stage: Attack) -> ThreatModel:
    """Return the threat model of an attack stage."""
    return ThreatModel(stage.norm, stage.eps or 0)


def make_task(
    stage: Attack,
    detector: nn.Module,
    levels: Tensor,
    labels: Tensor,
    streams: SampleStreams,
    *,
    threshold: Threshold,
    early_stop: bool,
    batch_size: int,
    device: torch.device,
    precision: Literal["fp32", "bf16"],
    sizes: Tensor | None = None,
    surrogate: Detector | None = None,
    insight: Insight | None = None,
) -> AttackTask:
    """Return the task of an attack stage; the parameters are those of :class:`AttackTask`.

    The detector maps pixels to logits. ``precision`` is that of gradients. A surrogate is queried at the threshold 0.5.
    A minimum-norm attack does not stop at a success, because the next one may be nearer.
    """
    deployed = DeployedDetector(detector, threshold)
    source_model = deployed if surrogate is None else DeployedDetector(surrogate)
    module = source_model.detector
    for borrower in borrowers(deployed, source_model):
        borrower.see(levels.shape[2], levels.shape[3])
    if isinstance(module, Detector):
        check_gradients(stage, module)
    # What is wrapped around a detector is differentiated as it is; a prepared one may share a module that no copy can be made of.
    with borrowed(deployed, source_model):
        fast = prepare(module, precision) if isinstance(module, Detector) else module
        prepared = DeployedDetector(fast, source_model.threshold)
    mask = None if stage.mask is None else _masks(stage.mask, levels, sizes, streams)
    return AttackTask(
        deployed, source_model, prepared, levels, labels, streams, threat_of(stage), stage.params,
        early_stop and not stage.recipe.minimum_norm,
        batch_in_reused_memory(batch_size, levels[0].numel(), device) if len(levels) else batch_size,
        device, sizes, stage.through, stage.eot, mask=mask, insight=insight,
    )  # fmt: skip


def _masks(mask: str, levels: Tensor, sizes: Tensor | None, streams: SampleStreams) -> Tensor:
    """Return the masks of images of any sizes, N×1×H×W booleans; padding is in no mask."""
    height, width = levels.shape[2:]
    if sizes is None:
        return masks_of(mask, (height, width), streams)
    masks = torch.zeros((len(levels), 1, height, width), dtype=torch.bool)
    for row, (rows, columns) in enumerate(sizes.tolist()):
        masks[row, :, :rows, :columns] = masks_of(mask, (rows, columns), streams.select([row]))[0]
    return masks


def run_attack(stage: Attack, task: AttackTask, advance: Callable[[int], None]) -> AttackOutcome:
    """Run an attack stage on images of one size, telling ``advance`` how many more are done.

    Raises
    ------
    AttackContractError
        If the attack returns NaN, leaves the range or the budget, misses an image, or changes the detector or
        the global random generators.
    """
    name = f"{stage.recipe.name} ({stage.backend})"
    count = len(task.levels)
    outcome = AttackOutcome(
        task.levels.clone(),
        torch.zeros(count),
        torch.zeros(count, dtype=torch.bool),
        torch.zeros(count),
        torch.zeros(count),
        torch.full((count,), torch.nan),
        torch.zeros(count, dtype=torch.long),
        torch.zeros(count, dtype=torch.long),
        [""] * count,
        [""] * count,
    )
    seen = torch.zeros(count, dtype=torch.long)
    what = f"{name} on detector '{getattr(task.source_model.detector, 'name', 'it')}'"
    lent = borrowed(task.source_model, task.detector)
    with lent, users_faults(what), surroundings_kept(name, task.source_model, task.detector):
        for chunk in _gathered(_chunks(stage, task), task.batch_size, advance):
            _check_library(name, stage, task, chunk)
            judged = judge(name, stage.recipe, task, chunk)
            rows = chunk.rows
            outcome.levels[rows] = judged.levels
            outcome.linf[rows], outcome.l2[rows] = level_distances(task.levels[rows], judged.levels)
            if stage.measures_distance:
                length = level_distance(task.threat.norm, task.levels[rows], judged.levels)
                fooled = task.is_fooled(rows, judged.log_odds)
                outcome.distance[rows] = torch.where(fooled, length, torch.inf)
            outcome.steps[rows] = chunk.steps
            outcome.queries[rows] = chunk.queries + judged.queries
            outcome.log_odds[rows], outcome.correct_float[rows] = judged.log_odds, judged.correct_float
            for row, chain in zip(rows.tolist(), chunk.chains or (), strict=chunk.chains is not None):
                outcome.chains[row] = chain
            for row, part in zip(rows.tolist(), chunk.found_by or (), strict=chunk.found_by is not None):
                outcome.found_by[row] = part
            seen[rows] += 1
    if not (seen == 1).all():
        raise AttackContractError(f"{name} returned some images twice or not at all")
    return outcome


def _check_library(name: str, stage: Attack, task: AttackTask, chunk: AttackChunk) -> None:
    """Raise UserError where another library followed a gradient that is not finite."""
    if stage.backend != "native" and not chunk.pixels.isfinite().all():
        detector = getattr(task.source_model.detector, "name", "it")
        raise UserError(
            f"{name} returned NaN or infinite pixels: detector '{detector}' has gradients that are not finite",
            hint="set backend: native, which handles such gradients",
        )


_MOST_VALUES = 2**25
"""Values of images that are judged together: one photograph of 12 megapixels takes half a gigabyte and more."""


def _gathered(
    chunks: Iterator[AttackChunk], enough: int, advance: Callable[[int], None]
) -> Iterator[AttackChunk]:
    """Join small chunks up to ``enough`` images, because a verdict on few images costs nearly as much as on many."""
    waiting: dict[tuple[bool, torch.Size], list[AttackChunk]] = {}
    for chunk in chunks:
        advance(len(chunk.rows))
        # What has been judged already is not judged again. A shape that is wrong is for the judge to say.
        alike = waiting.setdefault((chunk.log_odds is None, chunk.pixels.shape[1:]), [])
        alike.append(chunk)
        full = sum(each.pixels.numel() for each in alike) >= _MOST_VALUES
        if full or sum(len(each.rows) for each in alike) >= enough:
            yield AttackChunk.joined(alike)
            alike.clear()
    yield from (AttackChunk.joined(alike) for alike in waiting.values() if alike)


def _chunks(stage: Attack, task: AttackTask) -> Iterator[AttackChunk]:
    backends, backend = stage.recipe.backends, stage.backend
    if isinstance(stage.recipe, ObjectRecipe) and isinstance(
        stage.recipe.made_from, FunctionAttack | FoolboxAttack
    ):
        return run_in_memory(task, stage.recipe.made_from, recipe=stage.recipe)
    if backend == "native":
        assert backends.native is not None
        attack: AttackFunction = import_function(backends.native.implementation)
        return attack(task, **stage.arguments)
    call = backends.call(backend, task.threat.norm)
    assert call is not None
    return _ADAPTERS[backend](task, call, recipe=stage.recipe)


_ADAPTERS: Mapping[str, Callable[..., Iterator[AttackChunk]]] = {
    "torchattacks": run_torchattacks,
    "art": run_art,
    "adv_lib": run_adv_lib,
    "foolbox": run_foolbox,
}
