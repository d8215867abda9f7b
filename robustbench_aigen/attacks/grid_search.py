"""Keeps successes that rounding to 8 bits would lose: a search on the grid, inside the budget.

A minimum-norm attack stops on the boundary, and an L2 perturbation is half rounding: what the float image has, its
8-bit version often loses although the budget holds another 8-bit image that is fooled. Tried are, in this order,
longer perturbations along the same line, the rounding that the gradient prefers, and gradient steps from one 8-bit
image to the next.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel, column
from robustbench_aigen.numerics.eight_bit import LEVELS, to_pixels
from robustbench_aigen.numerics.margins import gradient_of, margin_of

_LENGTHS = 6
"""Points tried between the length of a perturbation and the budget."""
_STEPS = 10
"""Gradient steps on the grid."""


@dataclass
class GridSearch:
    """State of a search on the 8-bit grid: the best 8-bit image of each row so far.

    Parameters
    ----------
    task
        The task with the budget and the verdicts.
    rows
        M row numbers.
    pixels
        M×3×H×W float32 on the device, inside the budget: where to look from.
    """

    task: AttackTask
    rows: Tensor
    pixels: Tensor

    def __post_init__(self) -> None:
        self._clean_levels = self.task.levels[self.rows].to(self.task.device)
        self.levels = self.task.threat.round(self._clean_levels, self.pixels)
        self.log_odds = torch.full((len(self.rows),), torch.nan)
        self.fooled = torch.zeros(len(self.rows), dtype=torch.bool)
        self.queries = torch.zeros(len(self.rows), dtype=torch.long)

    def run(self, *, with_gradients: bool) -> None:
        """Search until every row is fooled or everything was tried."""
        clean = to_pixels(self._clean_levels)
        delta = self.pixels - clean
        room = self.task.threat.eps / self.task.threat.distance(clean, self.pixels).clamp(min=1e-12)
        for number in range(1, _LENGTHS + 1):
            factor = 1 + (room - 1).clamp(min=0) * number / _LENGTHS
            self._try(self.task.threat.round(self._clean_levels, clean + column(factor) * delta))
        if self.task.threat.norm == "linf":
            outwards = delta.sign() * (delta.abs() * LEVELS - 1e-3).ceil() / LEVELS
            self._try(
                self.task.threat.round(self._clean_levels, self.task.threat.project(clean, clean + outwards))
            )
        if with_gradients and self.task.threat.norm in ("linf", "l2", "l1"):
            self._follow_gradients(clean)

    def _follow_gradients(self, clean: Tensor) -> None:
        threat, wanted = self.task.threat, self.pixels
        for number in range(_STEPS):
            left = (~self.fooled).nonzero().flatten()
            if not len(left):
                return
            at = left.to(self.task.device)
            gradient = self._gradient(left, wanted[at])
            self.queries[left] += 1
            if number:
                size = threat.eps * max(0.5**number, 0.05)
                wanted[at] = threat.project(clean[at], wanted[at] + size * threat.steepest(gradient))
            found = self.levels.clone()
            found[at] = round_along(threat, self._clean_levels[at], wanted[at], gradient)
            self._try(found)
            # From the second step on the search stands on the grid itself.
            wanted = wanted.clone()
            wanted[at] = to_pixels(found[at])

    def _gradient(self, at: Tensor, pixels: Tensor) -> Tensor:
        """Return the gradient of the margin."""
        parts = []
        for chunk in torch.arange(len(at)).split(self.task.batch_size):
            rows = self.rows[at[chunk]]
            leaf = pixels[chunk.to(pixels.device)].detach().requires_grad_()
            with torch.enable_grad():
                logits = self.task.logits(rows, leaf, for_gradient=True)
                margin = margin_of(logits, self.task.labels[rows].to(self.task.device))
                parts.append(gradient_of(margin.sum(), leaf).nan_to_num(0.0, 0.0, 0.0))
        return torch.cat(parts)

    def _try(self, levels: Tensor) -> None:
        """Score 8-bit images of the rows that are not fooled yet and keep those that are."""
        left = (~self.fooled).nonzero().flatten()
        if not len(left):
            return
        at = left.to(self.task.device)
        log_odds = self.task.log_odds_of_levels(self.rows[left], levels[at])
        self.queries[left] += 1
        fooled = self.task.is_fooled(self.rows[left], log_odds)
        chosen = left[fooled]
        self.levels[chosen.to(self.task.device)] = levels[chosen.to(self.task.device)]
        self.log_odds[chosen], self.fooled[chosen] = log_odds[fooled], True


def round_along(threat: ThreatModel, clean_levels: Tensor, wanted: Tensor, gradient: Tensor) -> Tensor:
    """Round to the 8-bit image that loses least along a gradient, inside the budget.

    L2 and L1: the perturbation is cut to whole levels, which leaves budget over, and that is spent on the channel values
    where one level more gains most of the linearised margin for the length that it costs (the greedy solution of a
    knapsack whose gains are in order of their price). L∞ is plain rounding, where nothing is in short supply.

    Parameters
    ----------
    threat
        Norm and budget.
    clean_levels
        N×3×H×W uint8.
    wanted, gradient
        N×3×H×W float32: pixels inside the budget, and the gradient of the margin there.

    Returns
    -------
    Tensor
        N×3×H×W uint8.
    """
    if threat.norm not in ("l2", "l1"):
        return threat.round(clean_levels, wanted)
    clean = clean_levels.to(torch.int16)
    delta = wanted * LEVELS - clean
    # A level more is worth having only where it raises the margin, whichever way the perturbation points.
    inwards = delta * gradient < 0
    cut = torch.where(inwards, 0, delta).trunc()
    side = torch.where(cut == 0, gradient.sign(), cut.sign())
    further = clean + cut + side
    gain = torch.where((further >= 0) & (further <= LEVELS), gradient * side, 0).clamp(min=0).flatten(1)
    size, power = cut.abs().flatten(1), 2 if threat.norm == "l2" else 1
    cost = 2 * size + 1 if power == 2 else torch.ones_like(size)
    left = (threat.eps * LEVELS) ** power * (1 + 1e-6) - size.pow(power).sum(dim=1)
    order = (gain / cost).argsort(dim=1, descending=True, stable=True)
    spent = cost.gather(1, order).cumsum(dim=1)
    taken = (spent <= left.view(-1, 1)) & (gain.gather(1, order) > 0)
    chosen = torch.zeros_like(gain).scatter_(1, order, taken.to(gain.dtype)).view_as(cut)
    return threat.round(clean_levels, to_pixels((clean + cut + chosen * side).clamp(0, LEVELS)))
