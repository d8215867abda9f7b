"""Evaluations of the attacked function for a search: margin and gradient."""

from typing import Literal, NamedTuple

from torch import Tensor

Loss = Literal["ce", "margin"] | None
"""The differentiated loss of a search: the cross-entropy, the margin, or none."""


SATURATED = 40.0
"""Margin in nats beyond which the squares of the gradient of the cross-entropy (1e-17 of its length) leave float32."""


class Evaluation(NamedTuple):
    """Margin and gradient of the attacked function at the current pixels.

    ``margin`` are N float32 differences, logit of the wrong class less that of the right one: positive where the
    verdict is wrong. ``gradient`` is N×3×H×W, of the search's loss; None in a search that only queries.
    ``batch`` is over how many images a mean was taken.
    """

    margin: Tensor
    gradient: Tensor | None
    batch: int

    def select(self, chosen: Tensor) -> "Evaluation":
        """Keep the images that a boolean CPU mask names."""
        kept = chosen.nonzero().flatten().to(self.margin.device)
        gradient = None if self.gradient is None else self.gradient[kept]
        return Evaluation(self.margin[kept], gradient, self.batch)
