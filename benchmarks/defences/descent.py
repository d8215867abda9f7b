"""The search that the reference attacks share: signed gradient steps on a function that the reference chooses.

The reference writes the differentiable stand-in of its defence. This search follows the gradient of the stand-in, and the
defended detector itself decides which image of the path is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.defences.defence import EPS
from benchmarks.defences.judging import is_wrong, margins, rounded
from robustbench_aigen import Detector

StandIn = Callable[[Tensor], Tensor]
"""Maps N×3×H×W pixels to N×2 logits (real, fake), with useful gradients."""


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return N margins, logit of the wrong class less that of the right class."""
    return (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)


def descend(
    detector: Detector,
    stand_in: StandIn,
    clean: Tensor,
    labels: Tensor,
    *,
    steps: int = 60,
    restarts: int = 3,
    draws: int = 1,
    judged: int = 1,
    eps: int = EPS,
    seed: int = 0,
) -> Tensor:
    """Return the N×3×H×W images of the path, on the 8-bit grid, that fool the detector best.

    Parameters
    ----------
    detector
        The defended detector, which judges the rounded images of the path.
    stand_in
        The differentiated function.
    clean, labels
        N×3×H×W pixels in [0, 1] and N labels.
    steps, restarts
        Steps of one try, and tries; the first try begins at the image.
    draws
        Samples of the gradient that a step averages, for a random stand-in (expectation over transformation).
    judged
        Answers of the detector by which an image of the path is judged.
    eps
        The L∞ budget in levels.
    seed
        Of the random starts. The detector draws from the global generator.
    """
    generator = torch.Generator().manual_seed(seed)
    best = clean.clone()
    best_value = quality(detector, clean, labels, judged)
    for attempt in range(restarts):
        # A deterministic detector is fooled for good; of a random detector every image can become better.
        rows = (best_value < 1).nonzero().flatten()
        if not len(rows):
            break
        start, aims = clean[rows], labels[rows]
        current, momentum = start.clone(), torch.zeros_like(start)
        if attempt:
            noise = torch.rand(start.shape, generator=generator) * 2 - 1
            current = (start + noise * eps / 255).clamp(0, 1)
        for step in range(steps):
            gradient = mean_gradient(stand_in, current, aims, draws)
            norm = gradient.abs().mean((1, 2, 3), keepdim=True) + 1e-20
            momentum = 0.75 * momentum + gradient / norm
            length = (2 * eps * (1 - step / steps) ** 1.5 + 0.5) / 255
            current = current + length * momentum.sign()
            current = torch.max(torch.min(current, start + eps / 255), start - eps / 255).clamp(0, 1)
            on_grid = rounded(current, start, eps)
            value = quality(detector, on_grid, aims, judged)
            better = value > best_value[rows]
            best[rows[better]], best_value[rows[better]] = on_grid[better], value[better]
            going = best_value[rows] < 1
            if not going.all():
                rows, start, aims = rows[going], start[going], aims[going]
                current, momentum = current[going], momentum[going]
            if not len(rows):
                break
    return best


def mean_gradient(stand_in: StandIn, pixels: Tensor, labels: Tensor, draws: int) -> Tensor:
    """Return the N×3×H×W gradient of the margin, averaged over draws of the stand-in."""
    leaf = pixels.clone().requires_grad_()
    with torch.enable_grad():
        total = sum(squashed(margin(stand_in(leaf), labels)).sum() for _ in range(draws))
        assert isinstance(total, Tensor)
        return torch.autograd.grad(total, leaf)[0]


def squashed(margin: Tensor) -> Tensor:
    """Return margins that count less beyond the boundary, so that an average over draws is about the draws that are right."""
    return torch.where(margin > 0, 0.1 * margin, margin)


def quality(detector: Detector, pixels: Tensor, labels: Tensor, judged: int) -> Tensor:
    """Return how well N images fool the detector: 1 where every answer is wrong, and larger for larger margins below.

    The value is the share of wrong answers, less up to a tenth for the mean margin where an answer is right.
    """
    found = torch.stack([margins(detector, pixels, labels) for _ in range(judged)])
    share = torch.stack([is_wrong(each, labels) for each in found]).float().mean(0)
    return torch.where(share == 1, share, share - 0.1 * torch.sigmoid(-found.mean(0) / 4))
