"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016, arXiv:1511.04599), section 2: the two-class attack."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.nearest import Nearest
from robustbench_aigen.attacks.task import AttackChunk, AttackTask


def deepfool(task: AttackTask, *, steps: int, overshoot: float) -> Iterator[AttackChunk]:
    """DeepFool, L∞ or L2."""
    return iterate(task, DeepFool(steps, overshoot))


@dataclass
class DeepFool:
    """Steps to the boundary of the linearised detector, each a little too long.

    Parameters
    ----------
    steps
        Largest number of steps.
    overshoot
        Share by which a step goes beyond the boundary.
    """

    steps: int
    overshoot: float
    restarts: int = 1
    loss: Loss = "margin"
    minimum_norm: bool = True
    leaves_budget: bool = True

    def __post_init__(self) -> None:
        # The point after the last step is evaluated, too.
        self.evaluations = self.steps + 1

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at the image."""
        del task, rows, restart
        ended = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        return {"current": clean, "ended": ended, **Nearest.start(clean)}

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Step to where the linearised margin is zero; an image that is over the boundary is done."""
        gradient, margin = found.gradient, found.margin
        assert gradient is not None
        slots["ended"] = Nearest.note(task.threat, slots, margin)
        flat = gradient.flatten(1)
        if task.threat.norm == "linf":
            length, direction = flat.abs().sum(dim=1), gradient.sign()
        else:
            length, direction = flat.square().sum(dim=1), gradient
        distance = (1 + self.overshoot) * margin.clamp(max=0).abs() / length.clamp(min=1e-30)
        slots["current"] = (slots["current"] + distance.view(-1, 1, 1, 1) * direction).clamp(0, 1)

    def outcome(self, slots: Slots) -> Tensor:
        """Return the nearest image beyond the boundary, or how far it got."""
        return Nearest.outcome(slots)
