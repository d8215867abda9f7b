"""Applies a bound perturbation stage to images, and checks what comes back: the function may be the user's own."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.scenario.cells import BoundStage


def perturb(stage: BoundStage, levels: Tensor, streams: SampleStreams) -> Tensor:
    """Apply the real operation of a perturbation stage.

    Parameters
    ----------
    stage
        A bound stage of kind ``perturb``.
    levels
        N×3×H×W uint8 on the CPU.
    streams
        The images' random streams; read by random perturbations alone.

    Returns
    -------
    Tensor
        N×3×H'×W' uint8 on the CPU.

    Raises
    ------
    UserError
        If the perturbation returns something else.
    """
    function = import_function(str(stage.recipe.implementation))
    given: list[Any] = [levels, streams] if stage.recipe.random else [levels]
    try:
        done = function(*given, **stage.recipe.arguments(stage.params))
    except UserError:
        raise
    except Exception as error:
        message = f"perturbation '{stage.recipe.name}' failed: {type(error).__name__}: {error}"
        raise RuntimeError(message) from error
    is_batch = isinstance(done, Tensor) and done.ndim == 4 and done.shape[:2] == (len(levels), 3)
    if not is_batch or done.dtype != torch.uint8 or done.numel() == 0:
        got = f"{tuple(done.shape)} {done.dtype}" if isinstance(done, Tensor) else type(done).__name__
        raise UserError(
            f"perturbation '{stage.recipe.name}' returned {got}; needed are {len(levels)}×3×H×W torch.uint8"
        )
    return done


def perturb_differentiably(stage: BoundStage, pixels: Tensor, streams: SampleStreams) -> Tensor | None:
    """Apply the differentiable stand-in of a perturbation stage, for gradients alone.

    Parameters
    ----------
    stage
        A bound stage of kind ``perturb``.
    pixels
        N×3×H×W float32 pixels, on any device.
    streams
        The images' random streams; read by random perturbations alone.

    Returns
    -------
    Tensor or None
        N×3×H'×W' float32 pixels of the shape that :func:`perturb` gives; None where the recipe has no stand-in.
    """
    if stage.recipe.differentiable is None:
        return None
    function = import_function(stage.recipe.differentiable)
    given: list[Any] = [pixels, streams] if stage.recipe.random else [pixels]
    done: Tensor = function(*given, **stage.recipe.arguments(stage.params))
    return done
