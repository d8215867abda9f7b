"""Sizes of the squares of Square (Andriushchenko et al. 2020, arXiv:1912.00049, section 4)."""

import torch
from torch import Tensor

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of a budget of 10,000, after which the share of pixels in a square is halved."""


def share_at(query: Tensor, queries: int, p_init: float) -> Tensor:
    """Return the share of pixels in the square of a query, for N numbers of queries."""
    scaled = query.double() * 10_000 / queries
    passed = (scaled.view(-1, 1) > torch.tensor(_HALVINGS)).sum(dim=1)
    return p_init / 2.0**passed
