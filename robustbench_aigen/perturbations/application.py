"""Applies a perturbation stage to images, and checks the result, because the function may be the user's own."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.masks import masks_of
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.differentiable.rounding import on_8_bits, straight_through
from robustbench_aigen.stages.recipe import Operation
from robustbench_aigen.stages.stage import Perturbation


def perturb(stage: Perturbation, levels: Tensor, streams: SampleStreams) -> Tensor:
    """Apply the real operation of a perturbation stage, or those of a chain one after another.

    Parameters
    ----------
    stage
        A bound stage of kind ``perturb``.
    levels
        N×3×H×W uint8 on the CPU.
    streams
        The images' random streams; read by random perturbations alone. In a chain, each operation has its own.

    Returns
    -------
    Tensor
        N×3×H'×W' uint8 on the CPU.

    Raises
    ------
    UserError
        If the perturbation returns something else, or has a mask and changes the size.
    """
    given = levels
    for step, operation in enumerate(stage.operations):
        levels = apply_operation(operation, levels, streams.for_step(step))
    if stage.mask is None:
        return levels
    if levels.shape != given.shape:
        before, after = ("×".join(map(str, each.shape[2:])) for each in (given, levels))
        raise UserError(
            f"{stage.recipe.name} changes {before} pixels to {after}, so it cannot be restricted to a mask",
            source=stage.source,
            hint="leave the mask out, or use a perturbation that keeps the size",
        )
    return torch.where(masks_of(stage.mask, given.shape[2:], streams), levels, given)


def apply_operation(operation: Operation, levels: Tensor, streams: SampleStreams) -> Tensor:
    """Apply one operation of a perturbation, with checks of what it returns."""
    recipe = operation.recipe
    function = import_function(recipe.implementation)
    given: list[Any] = [levels, streams] if recipe.random else [levels]
    try:
        done = function(*given, **recipe.arguments(operation.params))
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):  # A smaller batch may do.
            raise
        message = f"perturbation '{recipe.name}' failed: {type(error).__name__}: {error}"
        raise RuntimeError(message) from error
    is_batch = isinstance(done, Tensor) and done.ndim == 4 and done.shape[:2] == (len(levels), 3)
    if not is_batch or done.dtype != torch.uint8 or done.numel() == 0:
        got = f"{tuple(done.shape)} {done.dtype}" if isinstance(done, Tensor) else type(done).__name__
        raise UserError(
            f"perturbation '{recipe.name}' returned {got}; needed are {len(levels)}×3×H×W torch.uint8"
        )
    return done


def perturb_differentiably(stage: Perturbation, pixels: Tensor, streams: SampleStreams) -> Tensor | None:
    """Apply the differentiable stand-in of a perturbation stage, for gradients alone.

    A chain rounds to 8 bits between its operations, with a gradient of 1, and one of its operations that has no
    stand-in is applied for real, with a gradient of 1 (BPDA), where it keeps the size.

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
    operations, clean = stage.operations, pixels
    if all(operation.recipe.differentiable is None for operation in operations):
        return None
    for step, operation in enumerate(operations):
        given = pixels if step == 0 else on_8_bits(pixels)
        done = _stand_in(operation, given, streams.for_step(step))
        if done is None:
            return None
        pixels = done
    if stage.mask is None:
        return pixels
    return torch.where(masks_of(stage.mask, clean.shape[2:], streams).to(pixels.device), pixels, clean)


def _stand_in(operation: Operation, pixels: Tensor, streams: SampleStreams) -> Tensor | None:
    recipe = operation.recipe
    if recipe.differentiable is not None:
        function = import_function(recipe.differentiable)
        given: list[Any] = [pixels, streams] if recipe.random else [pixels]
        # bfloat16 is for the detector: it cannot represent the 256 levels of a channel.
        with torch.autocast(pixels.device.type, enabled=False):
            done: Tensor = function(*given, **recipe.arguments(operation.params))
        return done
    real = to_pixels(apply_operation(operation, to_levels(pixels.detach().cpu()), streams)).to(pixels)
    return straight_through(pixels, real) if real.shape == pixels.shape else None
