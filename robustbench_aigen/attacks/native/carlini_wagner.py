"""The L2 attack of Carlini and Wagner (2017, Towards Evaluating the Robustness of Neural Networks, section VI)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.nearest import Nearest
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import column

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8
_EDGE = 1 - 1e-6
"""Distance that the variable of the change of variables keeps from black and white."""


def carlini_wagner(
    task: AttackTask,
    *,
    steps: int,
    searches: int,
    constant: float,
    confidence: float,
    learning_rate: float,
) -> Iterator[AttackChunk]:
    """C&W L2."""
    return iterate(task, CarliniWagner(steps, searches, constant, confidence, learning_rate))


@dataclass
class CarliniWagner:
    """Adam on the squared length plus c times the missing margin, with a binary search over c.

    Parameters
    ----------
    steps
        Number of steps of Adam for each c.
    searches
        Values of c.
    constant
        The first c.
    confidence
        Margin in logits that counts as success (κ).
    learning_rate
        Learning rate of Adam, in the variable of the change of variables, where pixels are (tanh w + 1) / 2.
    """

    steps: int
    searches: int
    constant: float
    confidence: float
    learning_rate: float
    restarts: int = 1
    loss: Loss = "margin"
    minimum_norm: bool = True
    leaves_budget: bool = True

    def __post_init__(self) -> None:
        self.evaluations = self.steps * self.searches

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at the image with the first c."""
        del task, rows, restart
        per_image = torch.zeros(len(clean), device=clean.device)
        origin = torch.atanh((2 * clean - 1).clamp(-_EDGE, _EDGE))
        return {
            "current": clean,
            "origin": origin,
            "variable": origin,
            "mean": torch.zeros_like(clean),
            "square": torch.zeros_like(clean),
            "constant": per_image + self.constant,
            "low": per_image,
            "high": per_image + torch.inf,
            "succeeded": torch.zeros_like(per_image, dtype=torch.bool),
            **Nearest.start(clean),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Take one step of Adam; where the steps of a c are used up, begin with the next."""
        gradient, margin = found.gradient, found.margin
        assert gradient is not None
        Nearest.note(task.threat, slots, margin - self.confidence)
        slots["succeeded"] = slots["succeeded"] | (margin > self.confidence)
        variable, current = slots["variable"], slots["current"]
        pull = 2 * (current - slots["clean"])
        push = column(slots["constant"] * (margin < self.confidence)) * gradient
        slope = (pull - push) * (1 - variable.tanh().square()) / 2
        step = slots["step"] % self.steps
        count = column((step + 1).to(variable))
        slots["mean"] = _BETA1 * slots["mean"] + (1 - _BETA1) * slope
        slots["square"] = _BETA2 * slots["square"] + (1 - _BETA2) * slope.square()
        mean = slots["mean"] / (1 - _BETA1**count)
        square = slots["square"] / (1 - _BETA2**count)
        variable = variable - self.learning_rate * mean / (square.sqrt() + _ADAM_EPS)
        ended = (step == self.steps - 1).to(variable.device)
        if ended.any():
            variable = self._next_constant(slots, variable, ended)
        slots["variable"] = variable
        slots["current"] = (variable.tanh() + 1) / 2

    def outcome(self, slots: Slots) -> Tensor:
        """Return the nearest image beyond the boundary, or how far it got."""
        return Nearest.outcome(slots)

    @staticmethod
    def _next_constant(slots: Slots, variable: Tensor, ended: Tensor) -> Tensor:
        """Halve the interval of c, or grow c tenfold where nothing succeeded yet, and begin at the image again."""
        constant, succeeded = slots["constant"], slots["succeeded"]
        slots["high"] = torch.where(ended & succeeded, torch.minimum(slots["high"], constant), slots["high"])
        slots["low"] = torch.where(ended & ~succeeded, torch.maximum(slots["low"], constant), slots["low"])
        middle = torch.where(slots["high"].isfinite(), (slots["low"] + slots["high"]) / 2, 10 * constant)
        slots["constant"] = torch.where(ended, middle, constant)
        slots["succeeded"] = succeeded & ~ended
        wide = ended.view(-1, 1, 1, 1)
        for name in ("mean", "square"):
            slots[name] = torch.where(wide, 0, slots[name])
        return torch.where(wide, slots["origin"], variable)
