"""What a detector does with gradients and with repeated calls, as ``auto`` has to know: from a few images.

Neither the images' labels nor an attack play a part: the same detector and images give the same insight before every
attack, in any order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.reaction.distillation import MOST, distil
from robustbench_aigen.attacks.reaction.heads import Head, fit_heads
from robustbench_aigen.attacks.reaction.restored_detector import RestoredDetector
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import DeployedDetector, log_odds, verdicts
from robustbench_aigen.detectors.thresholds import HALF, Threshold
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.seeding import seeded_global_rng

T = TypeVar("T")
Route = Literal["own", "restored", "inner", "none"]
DRAWS = 10
"""Calls that gradients of a detector with random answers are averaged over."""
LOOKED_INTO = 16
"""Images that an insight is gained on, fewer of large ones."""
_FEWEST, _PIXELS = 4, 2**19
_SMALL, _LARGE = (1, 2, 4), (8, 16, 32)
"""Lengths of the tried steps, in levels. Large steps overshoot, and count only where small ones change no answer."""
_USEFUL, _BETTER_THAN_CHANCE, _CLEARLY_BETTER = 0.9, 0.65, 0.1
"""Share of steps along a gradient that beat a random step: of ordinary detectors nearly all, by chance one half; and by how
much other gradients have to be better than the detector's own."""
_DECIDED = 8
"""Pairs of steps with unequal answers that decide: of so many, chance wins all in 0.4 % of cases."""
_MOVED = 1e-3


@dataclass(frozen=True)
class Insight:
    """How gradients of a detector are found.

    Parameters
    ----------
    route
        ``own``: the detector's own. ``restored``: restored where its code loses them. ``inner``: as ``restored``, of the
        outputs of modules inside, because the answer itself has no slope. ``none``: none of these guides a step.
    heads
        The outputs inside, for ``inner``.
    draws
        Calls that a gradient and a margin are averaged over; 1 where the answers to one image are equal.
    surrogate
        The weights of a distilled surrogate, for ``none`` (:meth:`Surrogate.packed`).
    """

    route: Route = "own"
    heads: tuple[Head, ...] = ()
    draws: int = 1
    surrogate: str = ""

    def described(self) -> str:
        """Return a sentence for the notices of a run; empty for an ordinary detector."""
        told = {
            "own": "",
            "restored": "its code loses gradients; auto restores them",
            "inner": "its answers have no slope; auto follows the gradients of scores inside",
            "none": "no gradients guide a step; auto queries scores, and attacks a surrogate of its own",
        }[self.route]
        averaged = f"its answers vary; auto takes means of {self.draws} calls" if self.draws > 1 else ""
        return "; ".join(text for text in (told, averaged) if text)

    def differentiated(self, deployed: DeployedDetector) -> DeployedDetector | None:
        """Return the function that gradients are taken of; None for the detector's own or for none."""
        if self.route in ("own", "none"):
            return None
        restored = RestoredDetector(deployed.detector, self.heads, deployed.threshold)
        return DeployedDetector(restored, deployed.threshold)


ORDINARY = Insight()
"""Of a detector with useful gradients and equal answers to equal images."""


def look_into(
    detector: nn.Module, threshold: Threshold, pixels: Tensor, more: Callable[[], Tensor] | None = None
) -> Insight:
    """Try how gradients of a detector are found.

    Parameters
    ----------
    detector
        Pixels to N×2 logits.
    threshold
        Its threshold.
    pixels
        N×3×H×W float32 in [0, 1] on the detector's device: :data:`LOOKED_INTO` images.
    more
        Returns more images of any size, which a surrogate is distilled on where nothing guides a step.
    """
    given = pixels
    height, width = pixels.shape[2:]
    pixels = pixels[: max(_FEWEST, _PIXELS // (height * width))]
    if len(pixels) < _FEWEST:
        # A single image decides too little: its mirror images and its negative are images as well.
        pixels = torch.cat([pixels, pixels.flip(3), pixels.flip(2), 1 - pixels])
    deployed = DeployedDetector(detector, threshold)
    with borrowed(deployed), seeded_global_rng("insight"):
        calls = torch.stack([_odds(deployed, pixels) for _ in range(3)])
        moved = (calls - calls[:1]).abs().amax(dim=0)
        allowed = _MOVED * calls.abs().amax(dim=0).clamp(min=1.0)
        draws = DRAWS if bool((moved > allowed).any()) else 1
        trial = _Trial(deployed, pixels, draws)
        own = trial.usefulness(deployed)
        if own >= _USEFUL:
            return Insight("own", (), draws)
        found: list[tuple[float, Insight]] = [(own, Insight("own", (), draws))]
        found.append(trial.tried(Insight("restored", (), draws)))
        if found[-1][0] < _USEFUL:
            heads = _attempted(
                lambda: fit_heads(detector, pixels, lambda some: verdicts(_odds(deployed, some), HALF))
            )
            if heads:
                found.append(trial.tried(Insight("inner", heads, draws)))
        # The detector's own gradients stay where they are useful and no others are clearly better.
        bonus = _CLEARLY_BETTER if own >= _BETTER_THAN_CHANCE else 0.0
        best = max(found, key=lambda each: each[0] + (bonus if each[1].route == "own" else 0.0))
        if best[0] >= _BETTER_THAN_CHANCE:
            return best[1]
        shown = given if more is None else more()
        height, width = shown.shape[2:]
        shown = shown[: max(_FEWEST, min(MOST, 8 * _PIXELS // (height * width)))]
        surrogate = distil(lambda some: _in_parts(deployed, some), shown)
    return Insight("none", (), draws, surrogate.packed())


class _Trial:
    """Steps along gradients and at random, compared by the detector's own answers."""

    def __init__(self, deployed: DeployedDetector, pixels: Tensor, draws: int) -> None:
        self._deployed, self._pixels, self._draws = deployed, pixels, draws
        self._sign = torch.where(self._mean_odds(pixels) >= 0, 1.0, -1.0).view(-1, 1, 1, 1)
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(pixels.shape, generator=generator) < 0.5
        self._noise = torch.where(noise, 1.0, -1.0).to(pixels)
        self._random = {step: self._after(self._noise, step) for step in (*_SMALL, *_LARGE)}

    def tried(self, insight: Insight) -> tuple[float, Insight]:
        """Return the usefulness of an insight's gradients, and the insight."""
        function = insight.differentiated(self._deployed)
        return (0.0 if function is None else self.usefulness(function)), insight

    def usefulness(self, function: DeployedDetector) -> float:
        """Return the share of steps along the gradient that beat a random step of the same length; 0 without gradients."""
        gradient = self._gradient(function)
        if gradient is None or not gradient.isfinite().all() or not gradient.any():
            return 0.0
        along = -self._sign * gradient.sign()
        won = decided = 0
        for steps in (_SMALL, _LARGE):
            for step in steps:
                margin = self._after(along, step)
                won += int((margin < self._random[step]).sum())
                decided += int((margin != self._random[step]).sum())
            if decided >= _DECIDED:
                break
        return won / decided if decided >= _DECIDED else 0.0

    def _after(self, direction: Tensor, step: int) -> Tensor:
        moved = (self._pixels + step / LEVELS * direction).clamp(0, 1)
        return self._mean_odds(moved) * self._sign.flatten()

    def _mean_odds(self, pixels: Tensor) -> Tensor:
        return torch.stack([_odds(self._deployed, pixels) for _ in range(self._draws)]).mean(dim=0)

    def _gradient(self, function: DeployedDetector) -> Tensor | None:
        """Return the gradient of the log-odds, averaged over draws; None without one."""
        draws = [_attempted(lambda: _slope(function, self._pixels)) for _ in range(self._draws)]
        found = [each for each in draws if each is not None]
        return torch.stack(found).mean(dim=0) if len(found) == len(draws) else None


def _slope(function: DeployedDetector, pixels: Tensor) -> Tensor | None:
    leaf = pixels.clone().requires_grad_()
    with torch.enable_grad():
        odds = log_odds(function(leaf))
        if not odds.requires_grad:
            return None
        found: Tensor | None = torch.autograd.grad(odds.sum(), leaf, allow_unused=True)[0]
    return found


def _attempted(make: Callable[[], T]) -> T | None:
    """Return a result, None where the detector's code fails on a tensor with a gradient: such code has no gradient."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None


def _in_parts(deployed: DeployedDetector, pixels: Tensor) -> Tensor:
    return torch.cat([_odds(deployed, part) for part in pixels.split(LOOKED_INTO)])


@torch.no_grad()
def _odds(deployed: DeployedDetector, pixels: Tensor) -> Tensor:
    """Return N log-odds less those of the threshold: the verdict is fake from 0 on."""
    return log_odds(deployed(pixels))
