"""The distribution of the input gradient per class, and where it lies, as study E shows it."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.gradient_maps import signed_input_gradients
from robustbench_aigen.explain.task import Task
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import ImagesLike, LabelsLike, labels_of, to_levels_list
from robustbench_aigen.numerics.seeding import seeded_global_rng

_EDGES = np.linspace(-6, 4, 101)
"""Edges of the bins, in powers of ten."""
_SIDE = 32
"""Side of the mean maps, which images of all sizes are brought to."""
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class ClassGradient(NamedTuple):
    """The absolute gradients of the log-odds of *fake*, in nats per pixel range, on the images of a class.

    Parameters
    ----------
    name
        ``real`` or ``fake``.
    images
        Number of images; those whose gradient is NaN or 0 everywhere are left out.
    left_out
        Number of images that were left out.
    shares
        Share of the values in each bin between ``edges``.
    edges
        Edges of the bins: logarithms to base 10.
    quantiles
        The 5 %, 25 %, 50 %, 75 % and 95 % quantiles, from the bins.
    place
        Mean absolute gradient by relative position, 32×32; its mean is 1.
    """

    name: str
    images: int
    left_out: int
    shares: NDArray[np.float64]
    edges: NDArray[np.float64]
    quantiles: tuple[float, ...]
    place: NDArray[np.float64]


def gradient_distribution(
    detector: Detector | nn.Module | str, images: ImagesLike, labels: LabelsLike
) -> list[ClassGradient]:
    """Return the distribution of the input gradient for both classes.

    The gradient is that of the log-odds, which does not vanish where the detector is certain, as that of the loss does.

    Raises
    ------
    UserError
        If the detector has no gradients, or no image has a gradient.
    """
    loaded, levels = load_detector(detector, device="auto"), to_levels_list(images)
    if not loaded.differentiable:
        raise UserError(f"{loaded.name} has no gradients", hint="use occlusion or lime")
    wanted = labels_of(labels, len(levels)).tolist()
    counts = np.zeros((2, len(_EDGES) - 1))
    places, used, left = np.zeros((2, _SIDE, _SIDE)), [0, 0], [0, 0]
    with borrowed(loaded):
        for image, label in zip(levels, wanted, strict=True):
            pixels = to_pixels(image[None].to(loaded.device))
            task = Task(
                loaded,
                pixels,
                torch.ones(1, device=loaded.device),
                ("",),
                default_batch_size(loaded, loaded.device),
            )
            with seeded_global_rng("input gradient"):
                gradient = signed_input_gradients(task)[0].abs().float().cpu()
            if not bool(gradient.isfinite().all()) or not bool(gradient.any()):
                left[label] += 1
                continue
            used[label] += 1
            logs = np.log10(np.maximum(gradient.numpy().ravel(), 1e-30)).clip(_EDGES[0], _EDGES[-1] - 1e-9)
            counts[label] += np.histogram(logs, _EDGES)[0] / logs.size
            small = functional.interpolate(
                gradient.mean(dim=0)[None, None], (_SIDE, _SIDE), mode="bilinear", antialias=True
            )[0, 0].double()
            places[label] += (small / small.mean().clamp_min(1e-30)).numpy()
    if not any(used):
        raise UserError(f"the gradients of {loaded.name} are NaN or 0 on all images", hint="use occlusion")
    return [
        ClassGradient(
            CLASS_NAMES[label], used[label], left[label], counts[label] / used[label], _EDGES,
            _quantiles(counts[label] / used[label]), places[label] / used[label],
        )
        for label in (0, 1)
        if used[label]
    ]  # fmt: skip


def _quantiles(shares: NDArray[np.float64]) -> tuple[float, ...]:
    below = np.concatenate([[0.0], shares.cumsum()])
    return tuple(float(10 ** np.interp(share, below, _EDGES)) for share in _QUANTILES)
