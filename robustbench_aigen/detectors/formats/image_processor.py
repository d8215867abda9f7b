"""The image processor of a transformers model, as differentiable preprocessing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.scenario.detector_spec import Resample

_RESAMPLE: Mapping[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters."""
_TRIED = ((37, 61), (300, 211))
"""Heights and widths on which the processor and what is made of it are compared."""
_CLOSE = 0.5
"""Levels of an 8-bit image by which both may differ in the mean over a noise image."""


def differentiable_preprocessing(processor: Any, name: str) -> dict[str, Any]:
    """Return the settings of :class:`Preprocessing` that compute what an image processor computes.

    They are compared on two noise images.

    Parameters
    ----------
    processor
        From ``AutoImageProcessor``.
    name
        Name of the detector, for the message.

    Raises
    ------
    UserError
        If the processor does something else than resize, crop, rescale and normalise.
    """
    said, kind = processor.to_dict(), type(processor).__name__
    try:
        settings = {**_geometry(said), **_normalisation(said), "eight_bit": True, "crop_rounds_down": True}
    except (KeyError, TypeError, ValueError) as error:
        raise _other_kind(kind, name) from error
    preprocessing = Preprocessing(**settings)
    for height, width in _TRIED:
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        try:
            wanted: Tensor = processor(noise, return_tensors="pt")["pixel_values"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"the {kind} of '{name}' does not take an image: {first_line(error)}") from error
        ours = _apply(preprocessing, torch.from_numpy(noise).permute(2, 0, 1)[None] / 255)
        if ours.shape != wanted.shape or _difference(ours, wanted, preprocessing) > _CLOSE:
            raise _other_kind(kind, name)
    return settings


def _other_kind(kind: str, name: str) -> UserError:
    return UserError(
        f"the {kind} of '{name}' does more than resize, crop, rescale and normalise",
        hint="write its preprocessing into a factory of your own: python:FILE.py:FACTORY",
    )


def _apply(preprocessing: Preprocessing, pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (preprocessing.fit(pixels) - mean) / std


def _difference(ours: Tensor, wanted: Tensor, preprocessing: Preprocessing) -> float:
    """Return the mean difference of two inputs of a network in levels of 8-bit images."""
    return float((ours - wanted).abs().mean()) * max(preprocessing.std) * 255


def _geometry(said: Mapping[str, Any]) -> dict[str, Any]:
    resize_to: int | tuple[int, int] | None = None
    size = said.get("size") or {}
    if said.get("do_resize", True) and size:
        shorter = size.get("shortest_edge")
        resize_to = int(shorter) if shorter else (int(size["height"]), int(size["width"]))
    cropped: tuple[int, int] | None = None
    if said.get("do_center_crop"):
        cropped = int(said["crop_size"]["height"]), int(said["crop_size"]["width"])
    elif said.get("crop_pct") and isinstance(resize_to, int):
        # ConvNeXt's processor: below 384 pixels a larger resize and a crop, from there on the size itself.
        side = resize_to
        cropped = (side, side)
        resize_to = int(side / said["crop_pct"]) if side < 384 else cropped
    input_size = cropped if cropped is not None else resize_to if isinstance(resize_to, tuple) else None
    resample = _RESAMPLE[int(said.get("resample") or 0) if said.get("resample") is not None else 2]
    return {
        "input_size": input_size,
        "crop": "center" if cropped is not None and resize_to is None else None,
        "resize_to": None if resize_to == input_size else resize_to,
        "resample": resample,
    }


def _normalisation(said: Mapping[str, Any]) -> dict[str, Any]:
    # Pixels here are in [0, 1]; the processor multiplies levels by its factor, then normalises.
    scale = 255 * said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 255.0
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if said.get("do_normalize", True):
        mean, std = _triple(said["image_mean"]), _triple(said["image_std"])
    return {"mean": tuple(value / scale for value in mean), "std": tuple(value / scale for value in std)}


def _triple(value: Any) -> tuple[float, ...]:
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(float(item) for item in value)
