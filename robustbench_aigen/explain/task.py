"""What a method of explanation gets: images of one size, the explained class of each, and the baseline."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision

from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.errors import UserError, did_you_mean

Baseline = Literal["black", "mean", "blur"]
BASELINES = ("black", "mean", "blur")


@dataclass(frozen=True)
class Task:
    """Images of one size, and the class that is explained for each.

    Parameters
    ----------
    detector
        The detector, borrowed by the caller.
    pixels
        N×3×H×W float32 in [0, 1], on its device.
    signs
        N numbers: 1 where *fake* is explained, −1 where *real* is.
    keys
        N keys of the images' random streams: the seed and the sha256 of the image.
    batch_size
        Largest number of images in one pass.
    """

    detector: Detector
    pixels: Tensor
    signs: Tensor
    keys: tuple[str, ...]
    batch_size: int

    def __len__(self) -> int:
        return len(self.pixels)

    def baseline(self, name: str) -> Tensor:
        """Return the images from which the evidence is removed, N×3×H×W.

        ``black``; ``mean``: the mean colour of the image; ``blur``: the image behind a Gaussian of an eighth of its
        shorter side.
        """
        if name not in BASELINES:
            raise UserError(f"unknown baseline {name!r}", hint=did_you_mean(str(name), BASELINES))
        if name == "black":
            return torch.zeros_like(self.pixels)
        if name == "mean":
            return self.pixels.mean(dim=(2, 3), keepdim=True).expand_as(self.pixels).contiguous()
        return blurred(self.pixels)


_SHARPEST = 256
"""Shorter side from which an image is blurred in a reduced copy: nothing of that size remains."""


def blurred(pixels: Tensor) -> Tensor:
    """Return N×3×H×W images behind a Gaussian of an eighth of their shorter side, reflected at the edges."""
    size = pixels.shape[-2:]
    if min(size) > _SHARPEST:
        reduced = [max(1, round(side * _SHARPEST / min(size))) for side in size]
        small = functional.interpolate(pixels, reduced, mode="bilinear", antialias=True, align_corners=False)
        return functional.interpolate(blurred(small), size, mode="bilinear", align_corners=False)
    sigma = max(min(size) / 8, 0.5)
    # Along one side after the other. Reflection, which the library pads with, reaches at most over the whole image.
    for sides in ((1, size[0]), (size[1], 1)):
        kernel = [min(2 * int(2 * sigma) + 1, 2 * side - 1) for side in sides]
        pixels = vision.gaussian_blur(pixels, kernel, [sigma, sigma])
    return pixels


class TaskMaps:
    """The maps of a task, N×H×W float32 on the CPU, and a note on each; empty where there is nothing to say."""

    def __init__(self, values: Tensor, notes: list[str] | None = None) -> None:
        self.values, self.notes = values.detach().float().cpu(), notes or [""] * len(values)


def evidence_of(detector: Detector) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the explained function: pixels and signs to N log-odds of the explained class, in nats."""

    def evidence(pixels: Tensor, signs: Tensor) -> Tensor:
        return log_odds(detector(pixels)) * signs

    return evidence
