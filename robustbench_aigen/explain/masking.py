"""Maps without gradients, by hiding parts of the image: occlusion and LIME, both computed by captum."""

import math

import torch
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.task import Task, TaskMaps, evidence_of
from robustbench_aigen.imports import import_library
from robustbench_aigen.numerics.seeding import seeded_global_rng

_ACROSS = 8
"""Windows or cells of the shorter side, by default."""


@torch.no_grad()
def occlusion(
    task: Task, *, window: int | None = None, stride: int | None = None, baseline: str = "mean"
) -> TaskMaps:
    """Return what the log-odds lose where a window is hidden, the mean over the windows (Zeiler & Fergus 2014).

    Parameters
    ----------
    task
        The images.
    window, stride
        Side of the window and its step in pixels: an eighth of the shorter side, and half of the window.
    baseline
        What the window shows instead: ``black``, ``mean`` or ``blur``.
    """
    captum = import_library("captum.attr", extra="explain", what="occlusion")
    height, width = task.pixels.shape[-2:]
    side = max(1, min(height, width) // _ACROSS) if window is None else window
    step = max(1, side // 2) if stride is None else stride
    if not 1 <= side <= min(height, width) or not 1 <= step <= side:
        raise UserError(
            f"a window of {side} pixels with steps of {step} does not cover an image of {height}×{width}",
            hint=f"window from 1 to {min(height, width)}, stride from 1 to the window",
        )
    method, starts = captum.Occlusion(evidence_of(task.detector)), task.baseline(baseline)
    maps = []
    for pixels, start, signs in zip(
        *(each.split(task.batch_size) for each in (task.pixels, starts, task.signs)), strict=True
    ):
        found = method.attribute(
            pixels, (3, side, side), (3, step, step), start, additional_forward_args=(signs,),
            perturbations_per_eval=max(1, task.batch_size // len(pixels)),
        )  # fmt: skip
        maps.append(found[:, 0])
    return TaskMaps(torch.cat(maps))


@torch.no_grad()
def lime(task: Task, *, cells: int = _ACROSS, samples: int = 200, baseline: str = "mean") -> TaskMaps:
    """Return the weights of a linear model of which square cells are hidden (Ribeiro et al. 2016).

    The model is a ridge regression, as in the authors' package.

    Parameters
    ----------
    task
        The images.
    cells
        Cells of the shorter side; squares take the place of the paper's superpixels.
    samples
        Images with hidden cells for each image.
    baseline
        What a hidden cell shows instead.
    """
    captum = import_library("captum.attr", extra="explain", what="lime")
    height, width = task.pixels.shape[-2:]
    mask = _cells(height, width, cells).to(task.pixels.device)
    models = import_library("captum._utils.models.linear_model", extra="explain", what="lime")
    method = captum.Lime(evidence_of(task.detector), interpretable_model=models.SkLearnRidge())
    starts, maps = task.baseline(baseline), []
    for pixels, start, sign, key in zip(
        task.pixels.split(1), starts.split(1), task.signs.split(1), task.keys, strict=True
    ):
        with seeded_global_rng(f"lime {key}"):
            found = method.attribute(
                pixels, start, additional_forward_args=(sign,), feature_mask=mask[None, None].expand_as(pixels),
                n_samples=samples, perturbations_per_eval=task.batch_size,
            )  # fmt: skip
        maps.append(found[:, 0])
    return TaskMaps(torch.cat(maps))


def _cells(height: int, width: int, across: int) -> Tensor:
    """Return the number of the square cell of each pixel, H×W."""
    if not 2 <= across <= min(height, width):
        raise UserError(
            f"an image of {height}×{width} has no {across} cells across",
            hint=f"cells from 2 to {min(height, width)}",
        )
    side = math.ceil(min(height, width) / across)
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    return rows[:, None] * (int(columns[-1]) + 1) + columns[None]
