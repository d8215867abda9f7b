"""Runs one attack stage: picks the backend, verifies what comes back, rounds it to 8 bits and judges it."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.art_adapter import run_art
from robustbench_aigen.attacks.libraries import library_class
from robustbench_aigen.attacks.task import Attack, AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel, level_distances
from robustbench_aigen.attacks.torchattacks_adapter import run_torchattacks
from robustbench_aigen.attacks.verification import AttackContractError, surroundings_kept, verify_pixels
from robustbench_aigen.detectors.contract import scores, verdicts
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.scenario.cells import BoundStage


class AttackOutcome(NamedTuple):
    """An attacked batch, in the order of the task.

    ``levels`` is N×3×H×W uint8 on the CPU, ``score`` its scores. ``correct_float`` is the verdict on the image before
    rounding;
    ``linf`` and ``l2`` the size of the 8-bit perturbation in pixel units.
    """

    levels: Tensor
    score: Tensor
    correct_float: Tensor
    linf: Tensor
    l2: Tensor
    steps: Tensor
    queries: Tensor


def threat_of(stage: BoundStage) -> ThreatModel:
    """Return the threat model of an attack stage."""
    norm = stage.params["norm"]
    return ThreatModel("linf" if norm == "linf" else "l2", float(stage.params["eps"] or 0))


def check_attack(stage: BoundStage) -> None:
    """Raise UserError if what computes an attack stage is not there: before the first image, not after."""
    backends, backend = stage.recipe.backends, stage.params["backend"]
    if backends.native is not None and backend == "native":
        import_function(backends.native.implementation)
        return
    with preserved_global_rng():
        library = import_module("torchattacks" if backend == "torchattacks" else "art.attacks.evasion")
    calls = getattr(backends, str(backend))
    library_class(library, calls[stage.params["norm"]])


def run_attack(stage: BoundStage, task: AttackTask, advance: Callable[[int], None]) -> AttackOutcome:
    """Run an attack stage on images of one size, telling ``advance`` how many more are done.

    Raises
    ------
    AttackContractError
        If the attack returns NaN, leaves the range or the budget, misses an image, or changes the detector or
        the global random generators.
    """
    name, threat = f"{stage.recipe.name} ({stage.params['backend']})", task.threat
    count = len(task.levels)
    outcome = AttackOutcome(
        task.levels.clone(),
        torch.zeros(count),
        torch.zeros(count, dtype=torch.bool),
        torch.zeros(count),
        torch.zeros(count),
        torch.zeros(count, dtype=torch.long),
        torch.zeros(count, dtype=torch.long),
    )
    seen = torch.zeros(count, dtype=torch.long)
    with surroundings_kept(name, task.detector):
        for chunk in _chunks(stage, task):
            clean = task.pixels(chunk.rows)
            verify_pixels(name, threat, clean, chunk.pixels)
            rounded = threat.round(task.levels[chunk.rows].to(task.device), chunk.pixels)
            outcome.levels[chunk.rows] = rounded.cpu()
            linf, l2 = level_distances(task.levels[chunk.rows], outcome.levels[chunk.rows])
            outcome.linf[chunk.rows], outcome.l2[chunk.rows] = linf, l2
            outcome.steps[chunk.rows] = chunk.steps
            outcome.queries[chunk.rows] = chunk.queries
            outcome.score[chunk.rows] = (
                task.score(chunk.rows, chunk.pixels) if chunk.score is None else chunk.score
            )
            # An attack that stopped at a success has seen the float image fooled too.
            outcome.correct_float[chunk.rows] = chunk.score is None and _correct(task, chunk)
            seen[chunk.rows] += 1
            advance(len(chunk.rows))
    if not (seen == 1).all():
        raise AttackContractError(f"{name} returned some images twice or not at all")
    return outcome


def _chunks(stage: BoundStage, task: AttackTask) -> Iterator[AttackChunk]:
    backends, backend = stage.recipe.backends, stage.params["backend"]
    if backend == "native":
        assert backends.native is not None
        attack: Attack = import_function(backends.native.implementation)
        return attack(task)
    calls, run = (
        (backends.torchattacks, run_torchattacks) if backend == "torchattacks" else (backends.art, run_art)
    )
    assert calls is not None
    return run(task, calls[task.threat.norm], recipe=stage.recipe)


@torch.no_grad()
def _correct(task: AttackTask, chunk: AttackChunk) -> Tensor:
    score = scores(task.detector.detector(chunk.pixels)).cpu()
    return verdicts(score, task.detector.threshold) == task.labels[chunk.rows]
