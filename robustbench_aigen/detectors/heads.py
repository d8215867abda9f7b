"""Heads of two-class networks."""

from typing import Literal

import torch
from torch import Tensor, nn


class TwoLogits(nn.Module):
    """One logit z of a sigmoid as two logits whose softmax is the same probability: (0, z), or (z, 0).

    Parameters
    ----------
    one
        Which class the sigmoid gives the probability of.
    """

    def __init__(self, one: Literal["real", "fake"] = "fake") -> None:
        super().__init__()
        self.one = one

    def forward(self, logit: Tensor) -> Tensor:
        """Map N×1 logits to N×2 logits (real, fake)."""
        zero = torch.zeros_like(logit)
        return torch.cat([zero, logit] if self.one == "fake" else [logit, zero], dim=1)


def dense_head(features: int, hidden: int, dropout: float, outputs: int = 2) -> nn.Sequential:
    """Make [dense, ReLU, dropout, dense] on N×``features`` input."""
    return nn.Sequential(
        nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )
