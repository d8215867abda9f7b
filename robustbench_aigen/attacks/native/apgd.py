"""Auto-PGD (Croce and Hein 2020, Reliable Evaluation of Adversarial Robustness, section 3, algorithm 1).

With two classes the cross-entropy is a rising function of the margin. The attack on the margin then takes the steps
of the attack on the cross-entropy, and differs where the latter saturates; the paper's DLR loss needs three classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.apgd_l1 import SparseAutoPGD
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.pgd import random_start
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel

_RHO = 0.75
"""Share of steps of a window that must have raised the loss (section 3.2)."""
_MOMENTUM = 0.75
"""Weight of the gradient step beside the last movement (section 3.1)."""


def apgd(task: AttackTask, *, steps: int, restarts: int, widened: float, loss: Loss) -> Iterator[AttackChunk]:
    """Auto-PGD, L∞, L2 or L1."""
    search = SparseAutoPGD if task.threat.norm == "l1" else AutoPGD
    return iterate(task, search(steps, restarts, loss, widened=widened))


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which the step size may be halved (section 3.2).

    >>> checkpoints(100)[:4]
    [22, 41, 57, 70]
    """
    # In whole per cent: a float sum of 0.57 is a little more, and would be rounded up to 58 of 100 steps.
    before, share, found = 0, 22, []
    while share <= 100:
        found.append(-(-share * steps // 100))
        before, share = share, share + max(share - before - 3, 6)
    return found


@dataclass
class AutoPGD:
    """PGD with momentum that halves an image's step size, and returns to its best point, where it stops gaining.

    Parameters
    ----------
    steps, restarts
        Number of steps of a try inside the budget, and number of tries.
    loss
        The loss whose gradient is followed.
    widened
        How many times as large the budget is in which half as many steps are taken first. What they come to is
        projected into the budget, and the search begins there (Croce and Hein 2021, Mind the box, arXiv:2103.01208, for
        L1). It reaches basins that no start inside the budget leads to. 1 turns widening off.
    """

    steps: int
    restarts: int
    loss: Loss
    widened: float = 1.0
    minimum_norm: bool = False

    def __post_init__(self) -> None:
        self.leaves_budget = self.widened > 1
        self._outside = -(-self.steps // 2) if self.leaves_budget else 0
        # The point after the last step is evaluated, too.
        self.evaluations = self._outside + self.steps + 1
        # Per step, the length of the window that ends there; zero between checkpoints.
        self._windows = torch.zeros(self.evaluations + 1)
        for first, steps in ((0, self._outside), (self._outside, self.steps)):
            marks = checkpoints(steps) if steps else []
            for before, mark in zip([0, *marks], marks, strict=False):
                # The last step outside is the first inside: there is nothing to halve.
                if first + mark != self._outside or not self._outside:
                    self._windows[first + mark] = mark - before

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at random in the budget, or the widened one, with a step of twice its size."""
        current = random_start(task, rows, clean, restart)
        if self.leaves_budget:
            current = (clean + self.widened * (current - clean)).clamp(0, 1)
        per_image = torch.zeros(len(rows), device=clean.device)
        return {
            "current": current,
            "previous": current,
            "point": current,
            "point_gradient": torch.zeros_like(current),
            "point_loss": torch.full_like(per_image, -torch.inf),
            "last_loss": torch.full_like(per_image, -torch.inf),
            "rises": per_image,
            "size": torch.full_like(per_image, 2 * self.widened * task.threat.eps),
            "mark_size": torch.full_like(per_image, torch.inf),
            "mark_loss": torch.full_like(per_image, -torch.inf),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Note the best point, halve the step size at a checkpoint without gain, and move."""
        gradient, margin = found.gradient, found.margin
        assert gradient is not None
        # Compared only, so the margin serves for both; the cross-entropy of a saturated image would tie.
        self._note(slots, margin, gradient)
        current, gradient = self._halve(slots, gradient)
        step = slots["size"].view(-1, 1, 1, 1) * task.threat.steepest(gradient)
        ahead = self._projected(task.threat, slots, current + step)
        first = (slots["step"] == 0) | (slots["step"] == self._outside)
        share = torch.where(first, 1.0, _MOMENTUM).to(current).view(-1, 1, 1, 1)
        moved = current + share * (ahead - current) + (1 - share) * (current - slots["previous"])
        slots["previous"], slots["current"] = current, self._projected(task.threat, slots, moved)
        entering = slots["step"] == self._outside - 1
        if entering.any():
            self._enter(task, slots, entering.to(current.device))

    def _projected(self, threat: ThreatModel, slots: Slots, pixels: Tensor) -> Tensor:
        """Project each image into the budget of its present phase."""
        outside = slots["step"] < self._outside
        if not outside.any():
            return threat.project(slots["clean"], pixels)
        wide = replace(threat, eps=self.widened * threat.eps).project(slots["clean"], pixels)
        if outside.all():
            return wide
        inside = threat.project(slots["clean"], pixels)
        return torch.where(outside.to(pixels.device).view(-1, 1, 1, 1), wide, inside)

    @staticmethod
    def _enter(task: AttackTask, slots: Slots, entering: Tensor) -> None:
        """Let images begin inside the budget, where the steps outside have led."""
        threat, wide = task.threat, entering.view(-1, 1, 1, 1)
        begun = torch.where(wide, threat.project(slots["clean"], slots["current"]), slots["current"])
        slots["current"] = begun
        slots["previous"] = torch.where(wide, begun, slots["previous"])
        for name, value in (
            ("point_loss", -torch.inf), ("last_loss", torch.inf), ("rises", 0.0), ("size", 2 * threat.eps),
            ("mark_size", torch.inf), ("mark_loss", -torch.inf),
        ):  # fmt: skip
            slots[name] = torch.where(entering, value, slots[name])

    def outcome(self, slots: Slots) -> Tensor:
        """Return the point with the highest loss."""
        return slots["point"]

    @staticmethod
    def _note(slots: Slots, loss: Tensor, gradient: Tensor) -> None:
        later = (slots["step"] > 0).to(loss.device)
        slots["rises"] = slots["rises"] + ((loss > slots["last_loss"]) & later)
        slots["last_loss"] = loss
        better = loss > slots["point_loss"]
        wide = better.view(-1, 1, 1, 1)
        slots["point"] = torch.where(wide, slots["current"], slots["point"])
        slots["point_gradient"] = torch.where(wide, gradient, slots["point_gradient"])
        slots["point_loss"] = torch.maximum(loss, slots["point_loss"])

    def _halve(self, slots: Slots, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return where to step from and along what, halving sizes and going back at checkpoints without gain."""
        window = self._windows[slots["step"]].to(gradient.device)
        current = slots["current"]
        if not (window > 0).any():
            return current, gradient
        at_mark = window > 0
        stuck = (slots["mark_size"] == slots["size"]) & (slots["mark_loss"] >= slots["point_loss"])
        halved = at_mark & ((slots["rises"] < _RHO * window) | stuck)
        slots["mark_size"] = torch.where(at_mark, slots["size"], slots["mark_size"])
        slots["mark_loss"] = torch.where(at_mark, slots["point_loss"], slots["mark_loss"])
        slots["rises"] = torch.where(at_mark, 0.0, slots["rises"])
        slots["size"] = torch.where(halved, slots["size"] / 2, slots["size"])
        wide = halved.view(-1, 1, 1, 1)
        return torch.where(wide, slots["point"], current), torch.where(
            wide, slots["point_gradient"], gradient
        )
