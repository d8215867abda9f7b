"""The detector contract: pixels in, two float32 logits out, everything between inside."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.errors import UserError, first_line

REAL, FAKE = 0, 1
"""Labels, and the columns of the logits."""


@dataclass(frozen=True)
class Preprocessing:
    """What a detector does to pixels before its network, all of it differentiable.

    Parameters
    ----------
    input_size
        Height and width that the network wants, in pixels; None where it takes any size.
    mean, std
        Normalisation per channel, in pixel units ([0, 1]).
    fake_index
        Which output of the network means *fake*.
    """

    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fake_index: int = FAKE


class Detector(nn.Module):
    """A detector of AI-generated images.

    ``detector(pixels)`` maps N×3×H×W float32 pixels in [0, 1] to N×2 float32 logits (real, fake). Any H and W
    are taken: the resize (bilinear, antialiased) is inside, so an attack works on native pixels.

    Parameters
    ----------
    network
        Takes normalised input and returns N×2 outputs.
    preprocessing
        Resize, normalisation and order of the outputs.
    name
        The id under which records and tables list it.
    architecture
        Name of the architecture, for records.
    weights_sha256
        Hash of the weights file.

    Attributes
    ----------
    assumptions
        What was taken for granted because nothing said it; shown to the user.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        name: str,
        architecture: str,
        weights_sha256: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.name, self.architecture, self.weights_sha256 = name, architecture, weights_sha256
        self.assumptions: tuple[str, ...] = ()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1), persistent=False)
        self.eval()
        self.requires_grad_(False)

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 float32 logits (real, fake) for N×3×H×W pixels in [0, 1].

        Parameters
        ----------
        pixels
            The images; smaller ones than H×W are padded at the right and at the bottom.
        sizes
            N×2 heights and widths of the images, where they are not all H×W.
        """
        size = self.preprocessing.input_size
        if sizes is not None:
            pieces = [image[None, :, :h, :w] for image, (h, w) in zip(pixels, sizes.tolist(), strict=True)]
            # Without an input size the images of a batch are of one size, and stay of it.
            pixels = torch.cat([_resized(piece, size) for piece in pieces])
        else:
            pixels = _resized(pixels, size)
        logits = self.network((pixels - cast(Tensor, self.mean)) / cast(Tensor, self.std)).float()
        return logits if self.preprocessing.fake_index == FAKE else logits.flip(1)

    def check(self) -> None:
        """Try two grey images and raise UserError unless two finite logits come out for each."""
        height, width = self.preprocessing.input_size or (64, 64)
        probe = torch.full((2, 3, height, width), 0.5, device=cast(Tensor, self.mean).device)
        try:
            with torch.no_grad():
                logits = self(probe)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = first_line(error)
            raise UserError(
                f"detector '{self.name}' fails on {height}×{width} input: {reason}",
                hint="give the size that its network was trained on, input_size: [height, width]",
            ) from error
        if logits.shape != (2, 2):
            raise UserError(
                f"detector '{self.name}' returns {tuple(logits.shape)} for 2 images; two logits (real, fake) each are needed"
            )
        if not logits.isfinite().all():
            raise UserError(
                f"detector '{self.name}' returns NaN or infinity for a grey image: its weights are damaged"
            )


def _resized(pixels: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or pixels.shape[-2:] == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)


def scores(logits: Tensor) -> Tensor:
    """Return the probability of *fake*, softmax column 1, for N×2 logits: N float32 numbers in [0, 1]."""
    return logits.float().softmax(dim=1)[:, FAKE]


def verdicts(score: Tensor, threshold: float) -> Tensor:
    """Return the labels that scores mean: 1 (fake) where score ≥ threshold, ties included, else 0."""
    return (score >= threshold).long()


class DeployedDetector(nn.Module):
    """A detector as attacks see it: logits shifted so that argmax is the verdict at its threshold.

    score ≥ t is z_fake − z_real ≥ log(t / (1 − t)), so that constant is taken from z_fake.
    """

    def __init__(self, detector: nn.Module, threshold: float) -> None:
        super().__init__()
        self.detector, self.threshold = detector, threshold
        parameter = next(detector.parameters(), None)
        device = parameter.device if parameter is not None else None
        shift = torch.tensor([0.0, math.log(threshold) - math.log1p(-threshold)], device=device)
        self.register_buffer("shift", shift, persistent=False)
        self.eval()

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 logits whose argmax is the verdict; ``sizes`` as in :meth:`Detector.forward`."""
        logits: Tensor = self.detector(pixels) if sizes is None else self.detector(pixels, sizes)
        return logits if self.threshold == 0.5 else logits - cast(Tensor, self.shift)
