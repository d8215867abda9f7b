"""The verdict on what an attack returns: on 8 bits, in float32, inside the budget."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.grid_search import GridSearch
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.verification import verify_pixels
from robustbench_aigen.detectors.contract import DeployedDetector
from robustbench_aigen.scenario.recipe import Recipe


class Judged(NamedTuple):
    """8-bit images with their scores.

    ``levels`` are M×3×H×W uint8 on the CPU, ``score`` M float32. ``correct_float`` is the verdict on the image before
    rounding; where the attacked function rounds inside (``through``), the verdict after it; and False, unseen, where
    an attack stopped at a success on 8 bits, or the search on the grid found one: neither was lost to rounding.
    ``queries`` are those of the search on the 8-bit grid.
    """

    levels: Tensor
    score: Tensor
    correct_float: Tensor
    queries: Tensor


def judge(name: str, recipe: Recipe, task: AttackTask, chunk: AttackChunk) -> Judged:
    """Verify a chunk, round it and score it; what rounding would lose is looked for on the grid.

    Raises
    ------
    AttackContractError
        If the pixels are not finite, in range and inside the budget.
    """
    clean, pixels, rows = task.pixels(chunk.rows), chunk.pixels, chunk.rows
    if recipe.minimum_norm and pixels.shape == clean.shape:
        pixels = task.threat.shrink(clean, pixels)
    verify_pixels(name, task.threat, clean, pixels)
    levels = task.threat.round(task.levels[rows].to(task.device), pixels).cpu()
    none = torch.zeros(len(rows), dtype=torch.long)
    if chunk.score is not None:
        # The attack stopped at a success on 8 bits: nothing was lost to rounding, and no float verdict is needed.
        return Judged(levels, chunk.score, torch.zeros(len(rows), dtype=torch.bool), none)
    score = task.score_levels(rows, levels)
    fooled = task.is_fooled(rows, score)
    correct_float = ~fooled if task.through else _float_verdicts(task, rows, pixels, fooled)
    lost = ~fooled & (~correct_float | recipe.minimum_norm)
    if lost.any() and task.knows_the_verdict:
        at = lost.nonzero().flatten()
        search = GridSearch(task, rows[at], pixels[at.to(pixels.device)].clone())
        search.run(with_gradients=recipe.access == "gradients")
        kept = at[search.fooled]
        levels[kept] = search.levels.cpu()[search.fooled]
        score[kept], correct_float[kept] = search.score[search.fooled], False
        none[at] += search.queries
    return Judged(levels, score, correct_float, none)


def _float_verdicts(task: AttackTask, rows: Tensor, pixels: Tensor, fooled: Tensor) -> Tensor:
    """Return whether the verdicts on float images are right, given those on their 8-bit versions.

    Where the precision of gradients and the 8-bit image agree, that is it; what they disagree on is decided in
    float32. With another detector's gradients everything is.
    """
    correct = ~fooled
    unsure = torch.arange(len(rows))
    if task.crafted_on is task.detector:
        correct = _correct(task, rows, pixels, task.prepared)
        unsure = (correct == fooled).nonzero().flatten()
    if len(unsure):
        at = unsure.to(pixels.device)
        correct[unsure] = _correct(task, rows[unsure], pixels[at], task.detector)
    return correct


@torch.no_grad()
def _correct(task: AttackTask, rows: Tensor, pixels: Tensor, deployed: DeployedDetector) -> Tensor:
    parts = []
    for part in torch.arange(len(rows)).split(task.batch_size):
        own = () if task.sizes is None else (task.sizes[rows[part]],)
        # The deployed logits are shifted so that their argmax is the verdict; ties are fake.
        logits = deployed(pixels[part.to(pixels.device)], *own)
        parts.append((logits[:, 1] >= logits[:, 0]).long().cpu())
    return torch.cat(parts) == task.labels[rows]
