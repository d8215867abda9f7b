"""PGD (Madry et al. 2018), BIM (Kurakin et al. 2017) and FGSM (Goodfellow et al. 2015) in the L∞ and L2 norms."""

from collections.abc import Iterator

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Update, iterate
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import l2_norm

_TINY = 1e-30
"""Added to a gradient's norm before dividing, so that a gradient of zero gives no step instead of NaN."""


def pgd(task: AttackTask) -> Iterator[AttackChunk]:
    """Projected gradient descent.

    Reads ``steps``, ``step_size`` (pixel units), ``random_start`` and ``restarts``.
    """
    params = task.params
    return iterate(
        task,
        steps=int(params["steps"] or 1),
        restarts=int(params["restarts"] or 1),
        start=_random_start if params["random_start"] else _clean_start,
        update=_stepper(float(params["step_size"] or 0)),
    )


def fgsm(task: AttackTask) -> Iterator[AttackChunk]:
    """Fast gradient (sign) method: one step of length eps from the image itself."""
    return iterate(task, steps=1, restarts=1, start=_clean_start, update=_stepper(task.threat.eps))


def bim(task: AttackTask) -> Iterator[AttackChunk]:
    """Basic iterative method: PGD from the image itself. Reads ``steps`` and ``step_size`` (pixel units)."""
    step = _stepper(float(task.params["step_size"] or 0))
    return iterate(task, steps=int(task.params["steps"] or 1), restarts=1, start=_clean_start, update=step)


def _clean_start(task: AttackTask, rows: Tensor, restart: int) -> Tensor:  # noqa: ARG001  the type Start
    return task.pixels(rows)


def _random_start(task: AttackTask, rows: Tensor, restart: int) -> Tensor:
    """Uniform in the L∞ ball; for L2 a uniform direction and a uniform radius, as in torchattacks."""
    clean = task.pixels(rows)
    streams = task.streams.select(rows.tolist()).for_restart(restart)
    eps = task.threat.eps
    if task.threat.norm == "linf":
        noise = torch.from_numpy(streams.uniform(-eps, eps, clean.shape[1:])).float().to(clean.device)
    else:
        direction = torch.from_numpy(streams.normal(clean.shape[1:])).float().to(clean.device)
        radius = torch.from_numpy(streams.uniform(0, 1, (1, 1, 1))).float().to(clean.device)
        noise = direction * (radius / l2_norm(direction).view(-1, 1, 1, 1) * eps)
    return (clean + noise).clamp(0, 1)


def _stepper(step_size: float) -> Update:
    def update(task: AttackTask, clean: Tensor, current: Tensor, gradient: Tensor) -> Tensor:
        if task.threat.norm == "linf":
            direction = gradient.sign()
        else:
            direction = gradient / (l2_norm(gradient) + _TINY).view(-1, 1, 1, 1)
        return task.threat.project(clean, current + step_size * direction)

    return update
