"""PGD (Madry et al. 2018), BIM (Kurakin et al. 2017), FGSM (Goodfellow et al. 2015) and MI-FGSM (Dong et al. 2018)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import TINY, l2_norm
from robustbench_aigen.numerics.seeding import SampleStreams


def pgd(
    task: AttackTask, *, steps: int, step_size: float, random_start: bool, restarts: int, lookahead: bool
) -> Iterator[AttackChunk]:
    """Projected gradient descent, L∞ or L2; ``step_size`` in pixel units."""
    search = GradientSteps(steps, restarts, step_size, random_start=random_start)
    return iterate(task, search, _far_end(task, lookahead=lookahead))


def fgsm(task: AttackTask) -> Iterator[AttackChunk]:
    """Fast gradient (sign) method: one step of length eps from the image itself."""
    return iterate(task, GradientSteps(1, 1, task.threat.eps))


def bim(task: AttackTask, *, steps: int, step_size: float, lookahead: bool) -> Iterator[AttackChunk]:
    """Basic iterative method: PGD from the image itself."""
    return iterate(task, GradientSteps(steps, 1, step_size), _far_end(task, lookahead=lookahead))


def mifgsm(
    task: AttackTask, *, steps: int, step_size: float, decay: float, lookahead: bool = False
) -> Iterator[AttackChunk]:
    """Momentum iterative method. The recipe ``transfer`` is the same attack without lookahead."""
    search = GradientSteps(steps, 1, step_size, decay=decay)
    return iterate(task, search, _far_end(task, lookahead=lookahead))


def _far_end(task: AttackTask, *, lookahead: bool) -> Callable[[Slots, Tensor], Tensor] | None:
    """Return the pixels that ``lookahead`` tries: the whole budget along the gradient."""
    if not lookahead:
        return None
    threat = task.threat

    def far_end(slots: Slots, gradient: Tensor) -> Tensor:
        # From one side of the budget to the other is twice its radius.
        step = threat.steepest(gradient).mul_(2 * threat.eps)
        return threat.project(slots["clean"], step.add_(slots["current"]))

    return far_end


@dataclass
class GradientSteps:
    """Steps of a fixed length along the gradient, projected into the budget after each.

    Parameters
    ----------
    evaluations
        Steps of one try.
    restarts
        Tries.
    step_size
        In pixel units.
    random_start
        Whether a try begins at random in the budget instead of at the image.
    decay
        Decay of the momentum (Dong et al. 2018, algorithm 1); None for the plain gradient.
    """

    evaluations: int
    restarts: int
    step_size: float
    random_start: bool = False
    decay: float | None = None
    loss: Loss = "ce"
    minimum_norm: bool = False
    leaves_budget: bool = False

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at the image or at random, with no momentum."""
        state = {"current": random_start(task, rows, clean, restart) if self.random_start else clean}
        return state if self.decay is None else {**state, "momentum": torch.zeros_like(clean)}

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Take a step."""
        gradient = found.gradient
        assert gradient is not None
        if self.decay is not None:
            # The mean, not the sum of the paper's L1 norm: torchattacks' and the authors' own code.
            unit = gradient / (gradient.abs().mean(dim=(1, 2, 3), keepdim=True) + TINY)
            gradient = slots["momentum"] = self.decay * slots["momentum"] + unit
        step = task.threat.steepest(gradient).mul_(self.step_size)
        slots["current"] = task.threat.project(slots["clean"], step.add_(slots["current"]))

    def outcome(self, slots: Slots) -> Tensor:
        """Return the pixels after the last step."""
        return slots["current"]


def random_start(task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> Tensor:
    """Return a random start: uniform in the L∞ ball; for L2 a uniform direction and radius, as in torchattacks."""
    eps = task.threat.eps
    if task.threat.norm == "linf":
        noise = task.draw(rows, restart, lambda streams, shape: streams.uniform(-eps, eps, shape))
        return (clean + noise).clamp(0, 1)
    # The radius is drawn after the direction, from the same stream.
    radii: list[Tensor] = []

    def direction_then_radius(streams: SampleStreams, shape: Sequence[int]) -> NDArray[np.float64]:
        direction = streams.normal(shape)
        radii.append(torch.from_numpy(streams.uniform(0, 1, (1, 1, 1))).float())
        return direction

    direction = task.draw(rows, restart, direction_then_radius)
    radius = torch.cat(radii).to(clean.device)
    return (clean + direction * (radius / l2_norm(direction).view(-1, 1, 1, 1) * eps)).clamp(0, 1)
