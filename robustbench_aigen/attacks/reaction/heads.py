"""Outputs of modules inside a detector that explain its verdicts where the verdict itself has no slope.

A wrapper that answers with labels, a vote, or a look-up hides the scores that it decides by; an attacker with the code
attacks those scores (Carlini and Wagner 2017 on distillation, Athalye et al. 2018, section 4).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.reaction.restoration import Parts, restored_gradients
from robustbench_aigen.numerics.eight_bit import LEVELS

_WIDEST = 1024
"""Numbers of an output; a wider one is an image."""
_SCORES = 2
"""Numbers of an output that is read as a score."""
_RIDGE = 1e-2
_EXPLAINS, _VOTES = 0.8, 0.65
"""Share of the verdicts of each class that an output has to explain, and one of several scores."""
_NOISE = (8, 32, 96)
_BLENDS = (0.25, 0.5, 0.75)


class Head(NamedTuple):
    """An output inside a detector, and the linear function of it that explains the verdicts: positive for fake.

    ``name`` is that of its module, ``call`` the number of the module's call.
    """

    name: str
    call: int
    weights: tuple[float, ...]
    offset: float

    def score(self, output: Tensor) -> Tensor:
        """Return N numbers."""
        flat = output.flatten(1).float()
        return flat @ torch.tensor(self.weights, device=flat.device) + self.offset


class HeadOutputs:
    """Collects the outputs inside a module during one call, by module and number of its call."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.found: dict[tuple[str, int], Tensor] = {}

    def __call__(self, name: str, output: Tensor) -> None:
        """Note an output."""
        if len(output) == self._count and output[0].numel() <= _WIDEST and output.is_floating_point():
            call = sum(other == name for other, _ in self.found)
            self.found[name, call] = output


def fit_heads(detector: nn.Module, pixels: Tensor, verdicts: Callable[[Tensor], Tensor]) -> tuple[Head, ...]:
    """Return the outputs that explain a detector's verdicts on images, their noisy copies and blends.

    Every score (one or two numbers an image): the members' of an ensemble. Without any score, the last wider output.

    Parameters
    ----------
    detector
        The detector.
    pixels
        N×3×H×W.
    verdicts
        Pixels to N labels.
    """
    shown = torch.cat(list(_varied(pixels)))
    labels = verdicts(shown)
    if len(labels.unique()) < 2:
        return ()
    inner = Parts.of(detector)
    columns: dict[tuple[str, int], list[Tensor]] = {}
    for part in shown.split(len(pixels)):
        outputs = HeadOutputs(len(part))
        with torch.enable_grad(), restored_gradients(inner, outputs):
            detector(part.clone().requires_grad_())
        for key, output in outputs.found.items():
            columns.setdefault(key, []).append(output.detach().flatten(1).float())
    whole = {key: torch.cat(parts) for key, parts in columns.items() if sum(map(len, parts)) == len(labels)}
    fitted = {key: _fitted(key, values, labels) for key, values in whole.items()}
    explaining = [(key, head) for key, head in fitted.items() if head is not None]
    scores = [(key, head) for key, head in explaining if whole[key].shape[1] <= _SCORES]
    if scores:
        return tuple(_different(scores, whole))
    return (explaining[-1][1],) if explaining else ()


def _varied(pixels: Tensor) -> "list[Tensor]":
    generator = torch.Generator().manual_seed(0)
    parts = [pixels]
    for step in _NOISE:
        noise = torch.rand(pixels.shape, generator=generator).to(pixels) * 2 - 1
        parts.append((pixels + step / LEVELS * noise).clamp(0, 1))
    others = pixels.flip(0)
    return parts + [share * pixels + (1 - share) * others for share in _BLENDS]


def _fitted(key: tuple[str, int], values: Tensor, labels: Tensor) -> Head | None:
    """Fit the verdicts by ridge regression; None where that explains too few of one class."""
    is_fake = (labels == 1).to(values)
    # Both classes weigh the same.
    weight = torch.where(labels == 1, 0.5 / is_fake.mean(), 0.5 / (1 - is_fake).mean()).to(values).double()
    middle = (values.double() * weight[:, None]).sum(dim=0) / weight.sum()
    centred = values.double() - middle
    size = centred.std(dim=0).clamp(min=1e-9)
    scaled = centred / size
    weighted = scaled * weight[:, None]
    square = weighted.T @ scaled + _RIDGE * len(values) * torch.eye(scaled.shape[1], dtype=torch.double)
    slopes = torch.linalg.solve(square, weighted.T @ (2 * is_fake.double() - 1))
    score = scaled @ slopes
    explained = min(
        float((score[labels == 1] >= 0).double().mean()), float((score[labels == 0] < 0).double().mean())
    )
    if explained < (_VOTES if values.shape[1] <= _SCORES else _EXPLAINS):
        return None
    weights = slopes / size
    return Head(*key, tuple(weights.tolist()), -float(middle @ weights))


def _different(
    scores: list[tuple[tuple[str, int], Head]], whole: dict[tuple[str, int], Tensor]
) -> "list[Head]":
    """Leave out outputs that only repeat another: of a module and of the last module inside."""
    kept: list[tuple[tuple[str, int], Head]] = []
    for key, head in scores:
        values = head.score(whole[key])
        if not any(torch.allclose(values, other.score(whole[place]), atol=1e-3) for place, other in kept):
            kept.append((key, head))
    return [head for _, head in kept]
