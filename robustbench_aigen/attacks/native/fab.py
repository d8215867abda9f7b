"""FAB (Croce and Hein 2020, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv:1907.02044).

With two classes there is one boundary, so the attack needs one linearisation a step instead of one a class.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.nearest import Nearest
from robustbench_aigen.attacks.native.pgd import random_start
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel, column

_ETA = 1.05
"""Overshoot of the projections (section 3.3)."""
_BETA = 0.9
"""Share by which a found image is moved back towards the clean image (section 3.3)."""
_BIAS = 0.1
"""Largest weight of the projection of the clean image (section 3.2)."""
_NEWTON_STEPS = 12


def fab(task: AttackTask, *, steps: int, restarts: int) -> Iterator[AttackChunk]:
    """FAB, L∞ or L2."""
    return iterate(task, FastAdaptiveBoundary(steps, restarts))


@dataclass
class FastAdaptiveBoundary:
    """Projections onto the linearised boundary, biased towards the clean image.

    Parameters
    ----------
    evaluations, restarts
        Steps of a try, and number of tries. The first try begins at the image, the others at random in half the budget.
    """

    evaluations: int
    restarts: int
    loss: Loss = "margin"
    minimum_norm: bool = True
    leaves_budget: bool = True

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at the image, or near it."""
        current = clean
        if restart:
            current = (clean + (random_start(task, rows, clean, restart) - clean) / 2).clamp(0, 1)
        moved_back = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        return {"current": current, "moved_back": moved_back, **Nearest.start(clean)}

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Project; or, where the last projection crossed the boundary, move back first."""
        gradient, margin = found.gradient, found.margin
        assert gradient is not None
        clean, current = slots["clean"], slots["current"]
        beyond = Nearest.note(task.threat, slots, margin)
        back = beyond & ~slots["moved_back"]
        ahead = self._projected(task.threat, clean, current, margin, gradient)
        behind = clean + _BETA * (current - clean)
        slots["current"] = torch.where(back.view(-1, 1, 1, 1), behind, ahead)
        slots["moved_back"] = back

    def outcome(self, slots: Slots) -> Tensor:
        """Return the nearest image beyond the boundary, or how far it got."""
        return Nearest.outcome(slots)

    @staticmethod
    def _projected(
        threat: ThreatModel, clean: Tensor, current: Tensor, margin: Tensor, gradient: Tensor
    ) -> Tensor:
        from_current = to_plane(threat, current, gradient, -margin)
        # The same plane, seen from the clean image.
        offset = -margin - (gradient * (clean - current)).flatten(1).sum(dim=1)
        from_clean = to_plane(threat, clean, gradient, offset)
        zero = torch.zeros_like(clean)
        near, far = threat.distance(zero, from_current), threat.distance(zero, from_clean)
        weight = column((near / (near + far).clamp(min=1e-12)).clamp(max=_BIAS))
        biased = (1 - weight) * (current + _ETA * from_current) + weight * (clean + _ETA * from_clean)
        return biased.clamp(0, 1)


def to_plane(threat: ThreatModel, pixels: Tensor, gradient: Tensor, offset: Tensor) -> Tensor:
    """Return the smallest change of pixels that reaches a hyperplane without leaving [0, 1].

    Parameters
    ----------
    threat
        The threat model, whose norm (``linf`` or ``l2``) is minimised.
    pixels, gradient
        N×3×H×W.
    offset
        N numbers: what ⟨gradient, change⟩ is to be. Where the box does not allow it, as much as there is.

    Returns
    -------
    Tensor
        N×3×H×W.
    """
    slope = gradient * column(torch.where(offset < 0, -1.0, 1.0))
    wanted = offset.abs()
    room = torch.where(slope > 0, 1 - pixels, pixels)
    size = slope.abs()
    # ⟨slope, change⟩ is a concave, piecewise linear function of one number: of the radius for L∞, of the multiplier
    # of the gradient for L2. Newton's method from below reaches its root in finitely many steps.
    weight = torch.ones_like(size) if threat.norm == "linf" else size
    scale = wanted / (size * weight).flatten(1).sum(dim=1).clamp(min=1e-30)
    for _ in range(_NEWTON_STEPS):
        change = column(scale) * weight
        is_free = change < room
        reached = (size * torch.where(is_free, change, room)).flatten(1).sum(dim=1)
        free_slope = (size * weight * is_free).flatten(1).sum(dim=1)
        scale = scale + torch.where(
            free_slope > 0, (wanted - reached) / free_slope.clamp(min=1e-30), 0
        ).clamp(min=0)
    return torch.minimum(column(scale) * weight, room) * slope.sign()
