"""Checks after every attack: range, budget, and an unchanged detector and random state."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.seeding import changed_generators, global_states


class AttackContractError(UserError):
    """An attack broke its contract; its numbers would be wrong, so the run stops."""


def verify_pixels(name: str, threat: ThreatModel, clean: Tensor, adversarial: Tensor) -> None:
    """Raise AttackContractError unless adversarial pixels are finite, in [0, 1] and inside the budget.

    Parameters
    ----------
    name
        The attack, for the message.
    threat
        Its norm and budget.
    clean, adversarial
        N×3×H×W float32 pixels.
    """
    if adversarial.shape != clean.shape:
        raise AttackContractError(
            f"{name} returned images of shape {tuple(adversarial.shape)} for {tuple(clean.shape)}"
        )
    if not adversarial.isfinite().all():
        raise AttackContractError(f"{name} returned NaN or infinite pixels")
    low, high = float(adversarial.min()), float(adversarial.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise AttackContractError(
            f"{name} returned pixels outside [0, 1]: {low:.6g} to {high:.6g}",
            hint="clamp the pixels to [0, 1]",
        )
    if not threat.holds(clean, adversarial).all():
        worst = float(threat.distance(clean, adversarial).max())
        raise AttackContractError(
            f"{name} exceeds its budget: {threat.norm} {worst:.6g} where eps is {threat.eps:.6g}",
            hint="give the attack this eps, or evaluate with a larger one",
        )


@contextmanager
def surroundings_kept(name: str, *detectors: nn.Module) -> Iterator[None]:
    """Raise AttackContractError if what runs inside changes the detector or the global random generators.

    Checked are the training flag of every submodule, the gradient flags and gradients of every parameter, the
    values of parameters and buffers (by their version counters), and the states of Python's, NumPy's and torch's
    global generators. Of a detector that draws from them itself (:attr:`Detector.draws`) the states are not.
    """
    before = [_state(detector) for detector in detectors]
    generators = global_states()
    yield
    for detector, state in zip(detectors, before, strict=True):
        for what, old, new in zip(
            ("mode", "gradient flags", "weights or buffers"), state, _state(detector), strict=True
        ):
            if old != new:
                raise AttackContractError(f"{name} changed the detector's {what}")
    if not any(getattr(module, "draws", False) for detector in detectors for module in detector.modules()):
        for library in changed_generators(generators):
            raise AttackContractError(f"{name} changed the global random generator of {library}")


def _state(detector: nn.Module) -> tuple[list[bool], list[tuple[bool, bool]], list[int]]:
    return (
        [module.training for module in detector.modules()],
        [(parameter.requires_grad, parameter.grad is None) for parameter in detector.parameters()],
        # Whole numbers count calls, in batch norms and in counters of the user's.
        [t._version for t in [*detector.parameters(), *detector.buffers()] if t.is_floating_point()],
    )
