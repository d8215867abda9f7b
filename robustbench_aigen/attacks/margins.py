"""The margin: what every attack on two classes is after."""

from torch import Tensor


def margin_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Return N margins for N×2 logits: of the wrong class over the right one."""
    return (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)
