"""APGD for L1 budgets (Croce and Hein 2021, Mind the box, section 3, arXiv:2103.01208)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustbench_aigen.attacks.l1_ball import sparse_direction
from robustbench_aigen.attacks.native.active_set import Slots
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.threat_model import column

_FIRST_SHARE = 0.2
"""Share of the values that move in the first steps (section 3.1)."""
_SPARSER = 1.5
"""By how much fewer values move than the best perturbation so far has, and divisor of step sizes (section 3.1)."""
_STILL_SPARSER = 0.95
"""A perturbation that keeps fewer than this share of its changed values still gets sparser (section 3.1)."""
_SMALLEST = 0.1
"""Smallest step as a share of the budget (section 3.1)."""
_WINDOW = 0.04
"""Share of the steps between two checkpoints (section 3.1)."""


@dataclass
class SparseAutoPGD:
    """Sign steps over a share of the values that follows the sparsity of the best perturbation.

    Parameters
    ----------
    steps, restarts
        Number of steps of a try inside the budget, and number of tries.
    loss
        The loss whose gradient is followed.
    widened
        How many times as large the first budget is. A quarter of ``steps`` is taken in it, as many in the budget halfway
        to the real one (section 3.2: three times, twice and once), and what they come to is projected. 1 has no wider budgets.
    """

    steps: int
    restarts: int
    loss: Loss
    widened: float = 1.0
    minimum_norm: bool = False

    def __post_init__(self) -> None:
        self.leaves_budget = self.widened > 1
        outside = -(-self.steps // 2) if self.leaves_budget else 0
        self.evaluations = outside + self.steps + 1
        # Where each budget begins, and how many times as large as the real one it is.
        self._phases = [(outside, self.steps, 1.0)]
        if outside:
            half = outside // 2
            wide = [(0, half, self.widened), (half, outside - half, (self.widened + 1) / 2)]
            self._phases = [phase for phase in wide if phase[1]] + self._phases

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at Gaussian noise, projected into the first budget."""
        noise = task.draw(rows, restart, lambda streams, shape: streams.normal(shape))
        scale = self._phases[0][2]
        current = replace(task.threat, eps=scale * task.threat.eps).project(clean, clean + noise)
        per_image = torch.zeros(len(rows), device=clean.device)
        return {
            "current": current,
            "point": current,
            "point_gradient": torch.zeros_like(current),
            "point_loss": torch.full_like(per_image, -torch.inf),
            "size": torch.full_like(per_image, scale * task.threat.eps),
            "share": torch.full_like(per_image, _FIRST_SHARE),
            "changed": torch.full_like(per_image, float(clean[0].numel())),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Note the best point, adapt share and step size at a checkpoint, and move."""
        gradient = found.gradient
        assert gradient is not None
        better = found.margin > slots["point_loss"]
        slots["point"] = torch.where(column(better), slots["current"], slots["point"])
        slots["point_gradient"] = torch.where(column(better), gradient, slots["point_gradient"])
        slots["point_loss"] = torch.maximum(found.margin, slots["point_loss"])
        moved = torch.empty_like(slots["current"])
        # Images of one phase move together; those of a refilled batch are in several.
        for first, steps, scale in self._phases:
            begun = slots["step"] - first
            chosen = ((begun >= 0) & (begun < steps + (scale == 1.0))).nonzero().flatten()
            if len(chosen):
                at = chosen.to(gradient.device)
                moved[at] = self._moved(task, slots, chosen, gradient, begun[chosen], steps, scale)
        slots["current"] = moved
        self._enter(task, slots)

    def _moved(
        self, task: AttackTask, slots: Slots, chosen: Tensor, gradient: Tensor, begun: Tensor, steps: int,
        scale: float,
    ) -> Tensor:  # fmt: skip
        """Return the next pixels of some images, after ``begun`` steps of a phase."""
        eps, at = scale * task.threat.eps, chosen.to(gradient.device)
        clean, current, gradient = slots["clean"][at], slots["current"][at], gradient[at]
        window = max(int(_WINDOW * steps), 1)
        marked = ((begun > 0) & (begun % window == 0)).to(gradient.device)
        if marked.any():
            changed = _changed(slots["point"][at] - clean)
            sparser = changed < _STILL_SPARSER * slots["changed"][at]
            size = torch.where(sparser, eps, (slots["size"][at] / _SPARSER).clamp(_SMALLEST * eps, eps))
            slots["size"] = _put(slots["size"], at, torch.where(marked, size, slots["size"][at]))
            share = changed / clean[0].numel() / _SPARSER
            slots["share"] = _put(slots["share"], at, torch.where(marked, share, slots["share"][at]))
            slots["changed"] = _put(slots["changed"], at, torch.where(marked, changed, slots["changed"][at]))
            back = column(marked & sparser)
            current = torch.where(back, slots["point"][at], current)
            gradient = torch.where(back, slots["point_gradient"][at], gradient)
        step = column(slots["size"][at]) * sparse_direction(gradient, slots["share"][at])
        return replace(task.threat, eps=eps).project(clean, current + step)

    def _enter(self, task: AttackTask, slots: Slots) -> None:
        """Let images begin in the next budget at the projection of the best point of the last one."""
        for first, _, scale in self._phases[1:]:
            entering = (slots["step"] == first - 1).to(slots["current"].device)
            if not entering.any():
                continue
            threat = replace(task.threat, eps=scale * task.threat.eps)
            begun = threat.project(slots["clean"], slots["point"])
            slots["current"] = torch.where(column(entering), begun, slots["current"])
            changed = _changed(begun - slots["clean"])
            for name, value in (
                ("point_loss", torch.full_like(changed, -torch.inf)),
                ("size", torch.full_like(changed, threat.eps)),
                ("share", changed / begun[0].numel() / _SPARSER),
                ("changed", changed),
            ):
                slots[name] = torch.where(entering, value, slots[name])

    def outcome(self, slots: Slots) -> Tensor:
        """Return the point with the highest loss."""
        return slots["point"]


def _changed(delta: Tensor) -> Tensor:
    """Return how many values each perturbation changes, N float32."""
    return (delta != 0).flatten(1).sum(dim=1).float()


def _put(values: Tensor, at: Tensor, new: Tensor) -> Tensor:
    """Return a copy of values with new ones at some places."""
    return values.index_copy(0, at, new)
