"""L1 budgets: projection onto ball and box, and sparse steps (Croce and Hein 2021, Mind the box, arXiv:2103.01208)."""

import torch
from torch import Tensor


def project_l1(clean: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Return the nearest perturbation inside the L1 ball and the box (arXiv:2103.01208, proposition 2.1).

    The projection moves each value by ``min(max(|u| - λ, 0), room)`` in the direction of u, where ``room`` is the
    distance to black or white. λ is the root of a falling, piecewise linear function, which a sort finds exactly.

    Parameters
    ----------
    clean
        N×3×H×W pixels in [0, 1].
    delta
        N×3×H×W: the perturbation to project.
    eps
        Radius of the ball: sum of the absolute changes of all channel values, in pixel units.

    Returns
    -------
    Tensor
        N×3×H×W float32.
    """
    size = delta.abs().flatten(1).double()
    room = torch.where(delta > 0, 1 - clean, clean).flatten(1).double()
    inside = torch.minimum(size, room)
    total = inside.sum(dim=1)
    over = total > eps
    if over.any():
        threshold = _threshold(size[over], room[over], total[over], eps)
        inside[over] = torch.minimum((size[over] - threshold).clamp(min=0), room[over])
    return inside.view_as(delta).to(delta.dtype) * delta.sign()


def _threshold(size: Tensor, room: Tensor, total: Tensor, eps: float) -> Tensor:
    """Return the N×1 thresholds λ at which N×D perturbations have the L1 length ``eps``."""
    # A value gets shorter from λ = |u| - room on, until it is zero at λ = |u|.
    starts, ends = (size - room).clamp(min=0), size
    ones = torch.ones_like(size)
    places, order = torch.cat([starts, ends], dim=1).sort(dim=1)
    slopes = torch.cat([ones, -ones], dim=1).gather(1, order).cumsum(dim=1)
    gaps = places.diff(dim=1, prepend=places.new_zeros(len(places), 1))
    before = torch.cat([slopes.new_zeros(len(slopes), 1), slopes[:, :-1]], dim=1)
    lengths = total.view(-1, 1) - (before * gaps).cumsum(dim=1)
    # The segment in which the length passes eps begins at the last place where the length is at least eps.
    at = ((lengths >= eps).sum(dim=1, keepdim=True) - 1).clamp(min=0)
    slope = slopes.gather(1, at).clamp(min=1)
    return places.gather(1, at) + (lengths.gather(1, at) - eps).clamp(min=0) / slope


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """Return steps of L1 length 1 over the values with the largest slopes, with their signs and of equal size.

    Parameters
    ----------
    gradient
        N×3×H×W.
    share
        N shares of the values that move, at least one value.

    Returns
    -------
    Tensor
        N×3×H×W; zero where the gradient is zero.
    """
    size = gradient.abs().flatten(1)
    values = size.shape[1]
    rank = ((1 - share) * values).long().clamp(0, values - 1).to(size.device)
    least = size.sort(dim=1).values.gather(1, rank.view(-1, 1))
    signs = gradient.flatten(1).sign() * (size >= least)
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp(min=1)).view_as(gradient)
