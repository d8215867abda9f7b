"""Universal adversarial perturbation by gradient steps (Shafahi et al. 2020, arXiv:1811.11304, algorithm 2)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.margins import gradient_of, margin_of


def universal(task: AttackTask, *, steps: int, step_size: float) -> Iterator[AttackChunk]:
    """One perturbation for the images of a class in a shard, L∞ or L2: reals are framed by one, fakes evade by another.

    Each step follows the mean gradient, over the images that are not fooled yet, of their margin (the paper clips the
    loss of those that are). ``steps`` are passes over the images, ``step_size`` is in pixel units. Images of a
    task are of one size.
    """
    for label in task.labels.unique().tolist():
        rows = (task.labels == label).nonzero().flatten()
        delta = torch.zeros((1, *task.levels.shape[1:]), device=task.device)
        for step in range(steps):
            for part in rows.split(task.batch_size):
                gradients = [
                    _mean_gradient(task, part, delta, step * task.eot + number + 1)
                    for number in range(task.eot)
                ]
                gradient = torch.stack(gradients).mean(dim=0)
                delta = _inside(task, delta + step_size * task.threat.steepest(gradient))
        for part in rows.split(task.batch_size):
            clean = task.pixels(part)
            count = torch.full((len(part),), steps)
            yield AttackChunk(part, (clean + delta).clamp(0, 1), count, count * task.eot)


def _mean_gradient(task: AttackTask, rows: Tensor, delta: Tensor, draw: int) -> Tensor:
    pixels = (task.pixels(rows) + delta).clamp(0, 1).requires_grad_()
    with torch.enable_grad():
        logits = task.logits(
            rows, pixels, draws=[draw] * len(rows) if task.is_random else None, for_gradient=True
        )
        margin = margin_of(logits, task.labels[rows].to(task.device))
        gradient = gradient_of(margin.clamp(max=0).sum(), pixels).nan_to_num(0.0, 0.0, 0.0)
    return gradient.mean(dim=0, keepdim=True)


def _inside(task: AttackTask, delta: Tensor) -> Tensor:
    """Project a perturbation (not an image) into the budget."""
    if task.threat.norm == "linf":
        return delta.clamp(-task.threat.eps, task.threat.eps)
    return delta * (task.threat.eps / delta.norm()).clamp(max=1)
