"""What comes out of a network, and how it becomes two logits (real, fake)."""

import torch
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import Outputs

_TINY = torch.finfo(torch.float32).tiny
_BELOW_ONE = 1 - torch.finfo(torch.float32).eps / 2


def as_columns(raw: object, name: str) -> Tensor:
    """Return a network's answer as N×1 or N×2 float32.

    Raises
    ------
    UserError
        If it is neither: what two classes need is one number or two for each image.
    """
    answer = getattr(raw, "logits", raw)
    if isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise UserError(f"detector '{name}' returns {type(raw).__name__}, not a tensor")
    columns = answer.flatten(1) if answer.dim() > 1 else answer[:, None] if answer.dim() == 1 else answer
    if columns.dim() != 2 or columns.shape[1] not in (1, 2):
        shape = tuple(answer.shape)
        raise UserError(
            f"detector '{name}' returns {shape} for {shape[0] if shape else 1} images; one or two numbers (real, fake) each are needed"
        )
    return columns.float()


def two_logits(columns: Tensor, outputs: Outputs) -> Tensor:
    """Turn a network's answer into two logits, of which the second is output 1's.

    A single number is that of output 1. Probabilities become logarithms, clamped where float32 has none: their
    softmax is the probability again, and their gradient is that of the log-odds, which does not vanish before the
    probability itself does.

    Parameters
    ----------
    columns
        N×1 or N×2 float32.
    outputs
        ``logits``, or ``probabilities`` of a sigmoid or a softmax.
    """
    if outputs == "probabilities":
        if columns.shape[1] == 1:
            p = columns.clamp(_TINY, _BELOW_ONE)
            columns = torch.log(p) - torch.log1p(-p)
        else:
            return columns.clamp(min=_TINY).log()
    if columns.shape[1] == 1:
        return torch.cat([-columns / 2, columns / 2], dim=1)
    return columns


def look_like_probabilities(columns: Tensor) -> bool:
    """Whether a network's answers to very different inputs, N×1 or N×2, are all probabilities."""
    if not columns.isfinite().all() or columns.min() < 0 or columns.max() > 1:
        return False
    return columns.shape[1] == 1 or bool(((columns.sum(dim=1) - 1).abs() < 1e-3).all())
