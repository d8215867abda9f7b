"""Selection of images to judge before their next gradient, because their last or a longer step probably fools them.

An image that is fooled needs no further gradient, but only the forward pass of one shows that it is. Where success is
likely, the float32 verdict on the 8-bit image, which a success needs anyway, is taken first and saves a forward and a
backward pass. How likely it is, the task itself shows: the gradient predicts how far a step moves the margin, and for
every reach, the predicted change as a share of the margin that is to be overcome, successes are counted.

The same holds for the far end of the budget, where a search with a fixed step length would arrive after several steps
in one direction: a success there ends the search of the image, a failure leaves it as it was.
"""

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.evaluation import SATURATED, Evaluation, Loss

UNKNOWN, LOOKED_AT = -1, -2
"""In place of a reach: before the first step, and after a look."""
_EDGES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
_TRIED, _LIKELY = 8, 0.5


def reach_of(found: Evaluation, moved: Tensor, loss: Loss) -> Tensor:
    """Return for each image the interval of :data:`_EDGES` that the predicted reach of its last step is in.

    Parameters
    ----------
    found
        Margin and gradient where the step began.
    moved
        N×3×H×W, the step.
    loss
        The loss of the gradient.

    Returns
    -------
    Tensor
        N whole numbers, on the CPU.
    """
    margin, gradient = found.margin, found.gradient
    assert gradient is not None
    change = (gradient * moved).flatten(1).sum(dim=1)
    if loss == "ce":
        # The gradient is of the mean cross-entropy, softplus of the margin.
        slope = torch.where(margin < -SATURATED, 1.0, margin.sigmoid())
        change = change * found.batch / slope.clamp(min=1e-30)
    share = change / (-margin).clamp(min=1e-6)
    return torch.bucketize(share, torch.tensor(_EDGES, device=share.device)).cpu()


class Odds:
    """Share of fooled images at each reach, so far in this task.

    Parameters
    ----------
    curious
        Whether images of a promising reach are judged until its odds are known: where only
        looks tells the odds.
    """

    def __init__(self, *, curious: bool = False) -> None:
        # A predicted change of less than the margin has not been seen to fool an image.
        self._untried = torch.arange(len(_EDGES) + 1) > (_EDGES.index(1.0) if curious else len(_EDGES))
        self._tried = torch.zeros(len(_EDGES) + 1)
        self._fooled = torch.zeros(len(_EDGES) + 1)

    def favour_a_look(self, reach: Tensor) -> Tensor:
        """Return which images are likely enough to be fooled, N booleans."""
        known = self._tried >= _TRIED
        likely = torch.where(known, self._fooled > _LIKELY * self._tried, self._untried)
        return (reach >= 0) & likely[reach.clamp(min=0)]

    def note(self, reach: Tensor, known: Tensor, fooled: Tensor) -> None:
        """Count the images of which it is known whether they are fooled."""
        self._tried += torch.bincount(reach[known], minlength=len(self._tried))
        self._fooled += torch.bincount(reach[known & fooled], minlength=len(self._fooled))
