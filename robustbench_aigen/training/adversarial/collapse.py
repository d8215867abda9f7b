"""Detection of a collapse in training: one class, guessing, or catastrophic overfitting.

Adversarial training of detectors of AI-generated images is reported to collapse (Zhang et al. 2025, Adversarially
Robust AI-Generated Image Detection for Free, arXiv:2505.22604); single-step training overfits to its own step from
one epoch to the next (Wong, Rice and Kolter 2020, Fast is better than free, section 5.4, arXiv:2001.03994).
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from robustbench_aigen.training.adversarial.rates import Rates

Kind = Literal["one_class", "guessing", "catastrophic_overfitting"]

ONE_CLASS = 0.95
"""Share of one class judged wrong, and of the other class judged right, that counts as one class."""
GUESSING = 0.6
"""Clean balanced accuracy below which a detector guesses."""
KNOWING = 0.75
"""Clean balanced accuracy before training above which later guessing counts as a loss."""
BLIND = 0.35
"""Catastrophic overfitting: points of balanced accuracy that PGD takes beyond the training's own search."""
LOST, WORTH = 0.5, 0.2
"""Catastrophic overfitting against the best check: lost share of the best robust balanced accuracy, and the least such accuracy."""
CHECKS = 5
"""Consecutive checks that must agree, because a detector may pass through one-sided states."""
PATIENCE = 4
"""Factor on the number of checks for a detector that guessed before the training."""

_ADVICE = {
    "one_class": "a smaller eps; schedule: {eps_warmup: 0.3}; a smaller learning_rate; method: {clean_share: 0.5}",
    "guessing": "a smaller eps; schedule: {eps_warmup: 0.3}; a smaller learning_rate; method: {clean_share: 0.5}",
    "catastrophic_overfitting": "method: {name: pgd, steps: 3}; or with fast a step_size of eps, schedule: {eps_warmup: 0.3}, a smaller eps",
}


@dataclass(frozen=True)
class Collapse:
    """A collapse: its kind, step, and the rates that show it."""

    kind: Kind
    step: int
    rates: Rates
    evidence: str

    @property
    def advice(self) -> str:
        """Advice on other settings."""
        return f"try {_ADVICE[self.kind]}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {**asdict(self), "advice": self.advice}

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> "Collapse":
        """Read what :meth:`as_dict` returned."""
        return cls(said["kind"], said["step"], Rates(**said["rates"]), said["evidence"])


@dataclass
class CollapseWatch:
    """Follows per-class rates from check to check.

    Parameters
    ----------
    began
        Clean balanced accuracy before training.
    """

    began: float
    best: float = 0.0
    suspected: list[Kind] = field(default_factory=list)

    def see(self, step: int, rates: Rates) -> Collapse | None:
        """Record a check, and return a collapse if :data:`CHECKS` consecutive checks show the same kind."""
        found = self._suspicion(rates)
        self.best = max(self.best, rates.robust_balanced)
        if found is None:
            self.suspected.clear()
            return None
        kind, evidence = found
        self.suspected = [*(other for other in self.suspected if other == kind), kind]
        needed = CHECKS * (PATIENCE if kind == "guessing" and self.began < KNOWING else 1)
        return Collapse(kind, step, rates, evidence) if len(self.suspected) >= needed else None

    def _suspicion(self, rates: Rates) -> tuple[Kind, str] | None:
        low, high = sorted((rates.tpr, rates.tnr))
        if low <= 1 - ONE_CLASS and high >= ONE_CLASS:
            answer = "AI-generated" if rates.tpr > rates.tnr else "real"
            return (
                "one_class",
                f"{100 * high:.0f} % and {100 * (1 - low):.0f} % of the classes are called {answer}",
            )
        guesses: tuple[Kind, str] = (
            "guessing",
            f"clean balanced accuracy was {100 * self.began:.0f} and is {100 * rates.balanced:.0f} %",
        )
        if self.began >= KNOWING and rates.balanced < GUESSING:
            return guesses
        if rates.searched - rates.robust_balanced > BLIND:
            return (
                "catastrophic_overfitting",
                f"the training's own search leaves {100 * rates.searched:.0f} %, PGD {100 * rates.robust_balanced:.0f} %",
            )
        if self.best >= WORTH and rates.robust_balanced < LOST * self.best:
            fell = f"from {100 * self.best:.0f} to {100 * rates.robust_balanced:.0f} %"
            clean = f"{100 * rates.balanced:.0f} % on clean images"
            return "catastrophic_overfitting", f"balanced accuracy under attack fell {fell}, with {clean}"
        # Last: of what knew nothing before, overfitting says more, and sooner.
        return guesses if rates.balanced < GUESSING else None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed training."""
        return {"best": self.best, "suspected": list(self.suspected)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        self.best, self.suspected = state["best"], list(state["suspected"])
