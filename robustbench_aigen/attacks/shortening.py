"""Shortens the successes of minimum-norm attacks on the 8-bit grid.

What such an attack finds between the levels of 8 bits is lengthened by rounding, or by the search that keeps the success.
A bisection between the image and the perturbation then looks for a shorter 8-bit one that still changes the verdict.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel, column, level_distance
from robustbench_aigen.numerics.eight_bit import LEVELS, to_levels, to_pixels
from robustbench_aigen.stages.parameters import Norm

_HALVINGS = 7
"""Steps of the bisection: the length is known to a 128th of what was found."""


class Shortened(NamedTuple):
    """8-bit images with the wrong verdict, M×3×H×W uint8, their M log-odds of *fake*, and M queries."""

    levels: Tensor
    log_odds: Tensor
    queries: Tensor


def shortened(task: AttackTask, rows: Tensor, pixels: Tensor, levels: Tensor, log_odds: Tensor) -> Shortened:
    """Return shorter perturbations with the wrong verdict.

    Parameters
    ----------
    task
        The task, whose attack knows the verdict.
    rows
        M row numbers of images with the wrong verdict.
    pixels
        M×3×H×W float32 on the device, what the attack found: the direction of the bisection.
    levels, log_odds
        M×3×H×W uint8 and M float32, on the CPU: the 8-bit images and their log-odds of *fake*.

    Returns
    -------
    Shortened
        The images; the given ones where nothing shorter was found.
    """
    norm, clean = task.threat.norm, task.levels[rows]
    levels, log_odds, queries = levels.clone(), log_odds.clone(), torch.zeros_like(rows)
    # The success may lie elsewhere than in the direction that the attack found.
    for found in (pixels.cpu(), to_pixels(levels)):
        direction, length = found - to_pixels(clean), level_distance(norm, clean, levels)
        low, high = torch.zeros_like(length), length.clone()
        for _ in range(_HALVINGS):
            open_ = (high - low > _finest(norm)).nonzero().flatten()
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) / 2
            tried = _of_length(norm, clean[open_], direction[open_], middle)
            odds, size = (
                task.log_odds_of_levels(rows[open_], tried),
                level_distance(norm, clean[open_], tried),
            )
            queries[open_] += 1
            better = task.is_fooled(rows[open_], odds) & (size < length[open_])
            at = open_[better]
            levels[at], log_odds[at], length[at] = tried[better], odds[better], size[better]
            high[open_] = torch.where(better, torch.minimum(middle, size), high[open_])
            low[open_] = torch.where(better, low[open_], middle)
    return Shortened(levels, log_odds, queries)


def _finest(norm: str) -> float:
    """Return the difference of two lengths that is worth no further query."""
    return 0.5 if norm == "l0" else 0.5 / LEVELS if norm == "linf" else 0.0


def _of_length(norm: Norm, clean: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Return 8-bit images about as far in a direction as M lengths say, M×3×H×W uint8."""
    pixels = to_pixels(clean)
    if norm == "l0":
        size = direction.square().sum(dim=1).flatten(1)
        rank = size.argsort(dim=1, descending=True).argsort(dim=1)
        kept = (rank < length.round().view(-1, 1)).view(len(clean), 1, *clean.shape[2:])
        return to_levels((pixels + direction * kept).clamp(0, 1))
    found = ThreatModel(norm, 0).distance(torch.zeros_like(direction), direction)
    factor = length / found.clamp(min=1e-12)
    return to_levels((pixels + column(factor) * direction).clamp(0, 1))
