"""Perturbations inside the attacked function: the real operation in the forward pass, a stand-in in the backward pass.

Backward Pass Differentiable Approximation (Athalye, Carlini and Wagner 2018, section 4.1): what the search sees is
what the detector will be given, and only the gradient is of the stand-in, or of the identity if there is no stand-in.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.perturbations.differentiable.rounding import straight_through
from robustbench_aigen.stages.stage import Perturbation


def stage_streams(streams: SampleStreams, position: int, draws: Sequence[int] | None) -> SampleStreams:
    """Return the streams of a stage inside the attacked function.

    Parameters
    ----------
    streams
        The random streams of the attack.
    position
        Position of the stage inside ``through``.
    draws
        Per image the number of its random draw. The draw that is judged, 0, is not one that a search over random
        stages sees: it would attack that draw and not the stage.
    """
    samples = streams.samples
    if draws is not None:
        samples = tuple(f"{sample}\0{draw}" for sample, draw in zip(samples, draws, strict=True))
    return SampleStreams(streams.seed, samples, 1000 * (streams.stage + 1) + position)


def through_stage(stage: Perturbation, pixels: Tensor, streams: SampleStreams) -> Tensor:
    """Apply a perturbation with the values of the real operation and the gradient of its stand-in.

    Parameters
    ----------
    stage
        A bound perturbation.
    pixels
        N×3×H×W float32; rounded to 8 bits for the real operation.
    streams
        The images' streams for this stage.

    Returns
    -------
    Tensor
        N×3×H'×W' float32.
    """
    real = to_pixels(perturb(stage, to_levels(pixels.detach()).cpu(), _fresh(streams)).to(pixels.device))
    if not (torch.is_grad_enabled() and pixels.requires_grad):
        return real
    smooth = perturb_differentiably(stage, pixels, _fresh(streams))
    if smooth is None:
        smooth = pixels
    if smooth.shape != real.shape:
        smooth = functional.interpolate(smooth, real.shape[-2:], mode="bilinear", align_corners=False)
    return straight_through(smooth, real)


def deliver(through: Sequence[Perturbation], levels: Tensor, streams: SampleStreams) -> Tensor:
    """Return N×3×H×W uint8 images after the real operations with the judged draws, on the CPU.

    ``streams`` are those of the attack.
    """
    for position, stage in enumerate(through):
        levels = perturb(stage, levels, stage_streams(streams, position, None))
    return levels


def _fresh(streams: SampleStreams) -> SampleStreams:
    """Return the streams reset to their beginning, so that the operation and its stand-in draw the same numbers."""
    return streams.select(range(len(streams)))
