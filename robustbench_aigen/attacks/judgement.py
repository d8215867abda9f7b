"""Verdicts on attacked images: on 8 bits, in float32, inside the budget."""

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.grid_search import GridSearch
from robustbench_aigen.attacks.shortening import shortened
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.verification import verify_pixels
from robustbench_aigen.detectors.contract import DeployedDetector
from robustbench_aigen.stages.recipe import AttackRecipe


class Judged(NamedTuple):
    """8-bit images with their log-odds of *fake*.

    ``levels`` are M×3×H×W uint8 on the CPU, ``log_odds`` M float32. ``correct_float`` is False, unseen, where the 8-bit
    image is a success: nothing was lost to rounding. Elsewhere it is the verdict on the image before rounding; where
    the attacked function rounds inside (``through``), the verdict after it. ``queries`` are those of the search on the
    8-bit grid, and of the bisection after a minimum-norm attack.
    """

    levels: Tensor
    log_odds: Tensor
    correct_float: Tensor
    queries: Tensor


def judge(name: str, recipe: AttackRecipe, task: AttackTask, chunk: AttackChunk) -> Judged:
    """Verify, round and judge a chunk, search the grid for successes that rounding would lose, and shorten successes.

    Raises
    ------
    AttackContractError
        If the pixels are not finite, in range and inside the budget.
    """
    clean, pixels, rows = task.pixels(chunk.rows), chunk.pixels, chunk.rows
    if pixels.shape == clean.shape:
        pixels = task.masked(rows, pixels)
    if recipe.minimum_norm and pixels.shape == clean.shape:
        pixels = task.threat.shrink(clean, pixels)
    verify_pixels(name, task.threat, clean, pixels)
    del clean  # 144 MB of a photograph of 12 megapixels.
    levels = task.threat.round(task.levels[rows].to(task.device), pixels).cpu()
    queries = torch.zeros(len(rows), dtype=torch.long)
    if chunk.log_odds is not None:
        # The attack stopped at a success on 8 bits.
        return Judged(levels, chunk.log_odds, torch.zeros(len(rows), dtype=torch.bool), queries)
    log_odds = task.log_odds_of_levels(rows, levels)
    fooled = task.is_fooled(rows, log_odds)
    correct_float = ~fooled
    if not task.through and not fooled.all():
        held = correct_float.nonzero().flatten()
        correct_float[held] = _float_verdicts(task, rows[held], pixels[held.to(pixels.device)])
    lost = ~fooled & (~correct_float | recipe.minimum_norm)
    if lost.any() and task.knows_the_verdict:
        at = lost.nonzero().flatten()
        search = GridSearch(task, rows[at], pixels[at.to(pixels.device)].clone())
        search.run(with_gradients=recipe.access == "gradients")
        kept = at[search.fooled]
        levels[kept] = search.levels.cpu()[search.fooled]
        log_odds[kept], correct_float[kept] = search.log_odds[search.fooled], False
        queries[at] += search.queries
        fooled[kept] = True
    if recipe.minimum_norm and task.knows_the_verdict and task.threat.norm != "spatial" and fooled.any():
        at = fooled.nonzero().flatten()
        shorter = shortened(task, rows[at], pixels[at.to(pixels.device)], levels[at], log_odds[at])
        levels[at], log_odds[at] = shorter.levels, shorter.log_odds
        queries[at] += shorter.queries
    return Judged(levels, log_odds, correct_float, queries)


def _float_verdicts(task: AttackTask, rows: Tensor, pixels: Tensor) -> Tensor:
    """Return whether the verdicts on float images are right, for images whose 8-bit versions have right verdicts.

    Verdicts in the precision of gradients are accepted where they agree, and decided in float32 elsewhere. With another
    detector's gradients everything is.
    """
    correct = torch.zeros(len(rows), dtype=torch.bool)
    if task.source_model is task.detector:
        correct = _correct(task, rows, pixels, task.prepared)
    unsure = (~correct).nonzero().flatten()
    if len(unsure):
        correct[unsure] = _correct(task, rows[unsure], pixels[unsure.to(pixels.device)], task.detector)
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
