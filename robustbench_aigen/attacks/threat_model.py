"""Threat models: a norm, a budget, and rounding to 8-bit images inside the budget."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigen.attacks.l1_ball import project_l1, sparse_direction
from robustbench_aigen.numerics.eight_bit import LEVELS, to_levels, to_pixels
from robustbench_aigen.stages.parameters import Norm

_ROUND_OFF = 1e-5
"""Round-off of float32 that is allowed beyond a budget, in pixel units: ART returns 8.000007/255 for 8/255."""


TINY = 1e-30
"""Added to a gradient's norm before dividing, so that a gradient of zero gives no step instead of NaN."""
_LONGER = 1e-6
"""Share by which a squared L2 length may pass the budget: a float perturbation as long as it must not lose a level."""


def column(values: Tensor) -> Tensor:
    """Return N values in the shape N×1×1×1."""
    return values.view(-1, 1, 1, 1)


def level_distances(clean: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return the L∞ and L2 distances in pixel units between N×3×H×W uint8 images, float32, exact before rounding."""
    difference = (torch.maximum(clean, other) - torch.minimum(clean, other)).flatten(1)
    linf, l2 = difference.amax(dim=1).double(), difference.double().norm(dim=1)
    return (linf / LEVELS).float(), (l2 / LEVELS).float()


def level_distance(norm: Norm, clean: Tensor, other: Tensor) -> Tensor:
    """Return the distances between N×3×H×W uint8 images in the unit of a budget, float32; zero for ``spatial``."""
    difference = (torch.maximum(clean, other) - torch.minimum(clean, other)).flatten(1)
    if norm == "l0":
        return (clean != other).any(dim=1).flatten(1).sum(dim=1).float()
    if norm == "l1":
        return (difference.sum(dim=1, dtype=torch.int64).double() / LEVELS).float()
    if norm == "spatial":
        return torch.zeros(len(clean))
    return level_distances(clean, other)[0 if norm == "linf" else 1]


def l2_norm(difference: Tensor) -> Tensor:
    """Return the N Euclidean norms of an N×C×H×W tensor, float32."""
    return difference.flatten(1).norm(dim=1)


@dataclass(frozen=True)
class ThreatModel:
    """A norm and a budget: the changes that an attacker may make.

    Parameters
    ----------
    norm
        ``linf``; ``l2``; ``l1``, the sum of the absolute changes of all channel values; ``l0``, the number of pixel
        positions that differ in any channel; or ``spatial``, where pixels move and no such distance bounds anything.
    eps
        Radius in pixel units, 4/255 is four levels; for ``l0`` a number of positions; unused for ``spatial``.
    """

    norm: Norm
    eps: float

    @property
    def levels(self) -> int:
        """Whole levels that an L∞ budget holds on the 8-bit grid: a fractional eps is floored."""
        return int(self.eps * LEVELS + 1e-6)

    @property
    def reach(self) -> int | None:
        """The part of the budget that matters on the 8-bit grid: equal values mean equal sets of 8-bit images.

        Whole levels for L∞, their sum for L1, their whole squared sum for L2, positions for ``l0``; zero where the
        image itself is the only one, None for ``spatial``.
        """
        if self.norm == "linf":
            return self.levels
        if self.norm == "l2":
            return int((self.eps * LEVELS) ** 2 * (1 + _LONGER))
        if self.norm == "l1":
            return int(self.eps * LEVELS * (1 + _LONGER))
        return int(self.eps) if self.norm == "l0" else None

    @property
    def is_floored(self) -> bool:
        """Whether the 8-bit budget is smaller than eps."""
        return self.norm == "linf" and abs(self.eps * LEVELS - self.levels) > 1e-3

    def distance(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return N distances, in the unit of ``eps``, between N×3×H×W pixels; zero where nothing is bounded."""
        difference = adversarial - clean
        if self.norm == "linf":
            return difference.flatten(1).abs().amax(dim=1)
        if self.norm == "l2":
            return l2_norm(difference)
        if self.norm == "l1":
            return difference.flatten(1).abs().sum(dim=1)
        if self.norm == "l0":
            return _changed(difference).flatten(1).sum(dim=1).float()
        return torch.zeros(len(clean), device=clean.device)

    def holds(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return, per image, whether the distance is inside the budget up to float32 round-off."""
        return self.distance(clean, adversarial) <= self.eps + _ROUND_OFF * max(1.0, self.eps)

    def project(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return the nearest pixels inside the budget and the range, N×3×H×W float32.

        The order (budget, then range) is the one of Madry et al. and of torchattacks; clipping to the range
        moves towards the clean image and keeps the budget. For L1 the projection is onto both at once.
        """
        if self.norm == "spatial":
            return adversarial.clamp(0, 1)
        delta = adversarial - clean
        if self.norm == "l1":
            return project_l1(clean, delta, self.eps).add_(clean).clamp_(0, 1)
        # In place: at 224 pixels a new tensor costs more than the arithmetic on it.
        if self.norm == "linf":
            delta.clamp_(-self.eps, self.eps)
        elif self.norm == "l2":
            delta.mul_(column((self.eps / l2_norm(delta)).clamp(max=1)))
        else:
            delta = _largest_positions(delta, int(self.eps))
        return delta.add_(clean).clamp_(0, 1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the direction of unit length in the norm along which a loss rises fastest (L∞, L2 and L1).

        For L1, that would be a single value, which soon is black or white. The step is spread evenly over the
        hundredth of the values with the largest slopes (Tramèr and Boneh 2019, arXiv:1904.13000, section 4.2).
        """
        if self.norm == "linf":
            return gradient.sign()
        if self.norm == "l1":
            return sparse_direction(gradient, torch.full((len(gradient),), 0.01, device=gradient.device))
        return gradient / column(l2_norm(gradient) + TINY)

    def shrink(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return the pixels on the line to the clean image that are inside the budget: what clipping would bend.

        For results of minimum-norm attacks, whose direction is what they found. L0 has no line: it projects.
        """
        if self.norm not in ("linf", "l2", "l1"):
            return self.project(clean, adversarial)
        scale = (self.eps / self.distance(clean, adversarial)).clamp(max=1)
        return (clean + (adversarial - clean) * column(scale)).clamp(0, 1)

    def stretch(self, clean: Tensor, adversarial: Tensor) -> Tensor:
        """Return the pixels on the same line as far out as the budget reaches, clipped to [0, 1] (L∞, L2, L1)."""
        scale = self.eps / self.distance(clean, adversarial).clamp(min=1e-12)
        return (clean + (adversarial - clean) * column(scale)).clamp(0, 1)

    def round(self, clean_levels: Tensor, adversarial: Tensor) -> Tensor:
        """Return the 8-bit image of a float one, inside the budget.

        L∞ clamps to whole levels. L2 and L1 round, which lengthens many perturbations past the budget, and then move
        channel values one level towards the clean image until it holds: first those that stray least from the
        float perturbation for the length they win.

        Parameters
        ----------
        clean_levels
            N×3×H×W uint8, the image that the attack started from.
        adversarial
            N×3×H×W float32 pixels.

        Returns
        -------
        Tensor
            N×3×H×W uint8.
        """
        if self.norm == "spatial":
            return to_levels(adversarial)
        if self.norm == "l0":
            return to_levels(self.project(to_pixels(clean_levels), adversarial))
        clean = clean_levels.to(torch.int16)
        wanted = adversarial * LEVELS
        rounded = wanted.round().clamp(0, LEVELS).to(torch.int16) - clean
        if self.norm == "linf":
            rounded = rounded.clamp(-self.levels, self.levels)
        else:
            power = 2 if self.norm == "l2" else 1
            rounded = _shorten(rounded, wanted - clean, (self.eps * LEVELS) ** power, power)
        return (clean + rounded).to(torch.uint8)


def _changed(difference: Tensor) -> Tensor:
    """Return N×H×W: which positions differ by more than float32 arithmetic does."""
    return (difference.abs() > _ROUND_OFF).any(dim=1)


def _largest_positions(delta: Tensor, count: int) -> Tensor:
    """Keep the ``count`` positions of an N×3×H×W perturbation that change most (Croce and Hein 2019, section 3.1)."""
    size = delta.square().sum(dim=1).flatten(1)
    if count >= size.shape[1]:
        return delta
    kept = torch.zeros_like(size).scatter_(1, size.topk(count, dim=1).indices, 1.0)
    return delta * kept.view(len(delta), 1, *delta.shape[2:])


def _shorten(rounded: Tensor, wanted: Tensor, budget: float, power: int) -> Tensor:
    """Move integer perturbations towards zero until the sum of their sizes to a power is at most ``budget``.

    Parameters
    ----------
    rounded, wanted
        N×3×H×W: the perturbation in whole levels, and before rounding.
    budget, power
        The largest sum: of squares for L2, of sizes for L1.
    """
    shape = rounded.shape
    steps, floats = rounded.flatten(1).float(), wanted.flatten(1)
    limit = budget * (1 + _LONGER)
    while True:
        excess = steps.abs().pow(power).sum(dim=1) - limit
        if not (excess > 0).any():
            return steps.view(shape).to(torch.int16)
        size = steps.abs()
        won = 2 * size - 1 if power == 2 else torch.ones_like(size)
        strayed = 1 - 2 * (size - floats.abs())
        price = torch.where(size > 0, strayed / won, torch.inf)
        order = price.argsort(dim=1, stable=True)
        ordered = torch.where(size > 0, won, 0).gather(1, order)
        before = ordered.cumsum(dim=1) - ordered
        chosen = torch.zeros_like(steps, dtype=torch.bool)
        chosen.scatter_(1, order, (before < excess.view(-1, 1)) & (ordered > 0))
        steps = steps - chosen * steps.sign()
