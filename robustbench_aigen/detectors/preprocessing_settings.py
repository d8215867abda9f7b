"""Settings of the preprocessing and their description. Nothing here needs torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import JsonValue

from robustbench_aigen.detectors.normalisation import CLIP, IMAGENET, PIXELS, SYMMETRIC, Normalisation
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import Channels, Crop, Outputs, Resample

FAKE_COLUMN = 1


@dataclass(frozen=True)
class PreprocessingSettings:
    """Settings of a differentiable preprocessing.

    Parameters
    ----------
    input_size
        Height and width that the network wants, in pixels; None where it takes any size.
    mean, std
        Normalisation per channel, in pixel units ([0, 1]), in the order of the network's channels.
    fake_index
        Which output of the network means *fake*.
    channels
        The order of the network's channels; ``grey`` is the luma of ITU-R 601, ``rgba`` adds an opaque alpha.
    outputs
        The kind of the network's outputs.
    output
        Which of several outputs holds the verdict: its name or position. None where there is one.
    resample
        The filter of the resize, antialiased where it shrinks.
    resize_to
        Before a crop to ``input_size``: the shorter side, or height and width. None resizes to ``input_size`` itself
        and crops nothing, or resizes nothing where ``crop`` is set.
    crop
        Which views of ``input_size`` the network sees: ``center``, ``five`` (the corners and the centre), or ``tiles``
        that cover the image. None means ``center`` after a ``resize_to``, and else no crop.
    stride
        Distance of tiles in pixels, downwards and to the right; ``input_size`` by default. The last tile of a row or
        column ends with the image.
    combine
        How the answers to several views become one: ``mean_score`` and ``mean_logit`` as in ensembles, ``max_score``
        the view that is most surely fake, ``top3`` the mean score of the three that are (any number).
    pad
        What surrounds images that are smaller than the crop: ``reflect``, or a level in [0, 1]. None is black, and
        undeclared: runs say how many images it concerns.
    eight_bit
        Whether the resized image is rounded to 8 bits, as libraries do that resize image files. The gradient goes
        straight through the rounding.
    crop_rounds_down
        Where an odd number of pixels is cropped: one less is taken from the top and the left, as transformers
        does; otherwise the half is rounded to even, as torchvision does.
    """

    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fake_index: int = FAKE_COLUMN
    channels: Channels = "rgb"
    outputs: Outputs = "logits"
    output: str | None = None
    resample: Resample = "bilinear"
    resize_to: int | tuple[int, int] | None = None
    crop: Crop | None = None
    stride: tuple[int, int] | None = None
    combine: str = "mean_score"
    pad: float | Literal["reflect"] | None = None
    eight_bit: bool = False
    crop_rounds_down: bool = False

    @property
    def has_views(self) -> bool:
        """Whether the network may see several views of an image."""
        return self.crop in ("five", "tiles")

    @property
    def crops(self) -> bool:
        """Whether a part of the image is cut out: an image that is smaller is padded."""
        return self.input_size is not None and (self.crop is not None or self.resize_to is not None)


LONGEST_SIDE = 2**14
"""Pixels of a side; a detector of such images would need gigabytes for one."""
WHOLE: Mapping[str, None] = {"crop": None, "input_size": None, "resize_to": None, "pad": None}
"""The settings that ``crop: none`` means: the whole image at its own size."""


def check_whole(said: Mapping[str, object]) -> None:
    """Raise UserError for settings that do not go with ``crop: none``."""
    for key in ("input_size", "resize_to", "pad"):
        if said.get(key) is not None:
            raise UserError(
                f"crop: none is the whole image at its own size, and does not go with {key}",
                hint="for the whole image resized to one size, write input_size and the same as resize_to, both as [height, width]",
            )


def check_geometry(own: PreprocessingSettings) -> None:
    """Raise UserError for settings of the views that do not go together, or that no memory holds."""
    for key in ("input_size", "resize_to", "stride"):
        given = getattr(own, key)
        sides = (given,) if isinstance(given, int) else given or ()
        if any(side > LONGEST_SIDE for side in sides):
            raise UserError(
                f"{key} of {'×'.join(map(str, sides))} is larger than {LONGEST_SIDE} pixels a side",
                hint=f"set {key} to the height and width in pixels that the network was trained on",
            )
    if own.crop is not None and own.input_size is None:
        raise UserError(
            f"crop: {own.crop} needs input_size, the height and width of the crop", hint="add input_size: 224"
        )
    if own.stride is not None and own.crop != "tiles":
        raise UserError("stride is the distance of tiles", hint="add crop: tiles, or leave stride out")
    if own.stride is not None and any(
        step > side for step, side in zip(own.stride, own.input_size or (), strict=False)
    ):
        raise UserError(
            f"a stride of {own.stride[0]}×{own.stride[1]} leaves gaps between tiles of "
            f"{_sides(own.input_size)}: the network would not see all of the image",
            hint="the stride is at most the input_size",
        )
    if own.combine != "mean_score" and not own.has_views:
        raise UserError(
            f"combine: {own.combine} combines several views",
            hint="add crop: five or crop: tiles, or leave combine out",
        )
    if own.pad is not None and not own.crops:
        raise UserError(
            "pad surrounds images that are smaller than a crop, and nothing is cropped",
            hint="add crop: center, or leave pad out",
        )


_NAMED: dict[str, Normalisation] = {
    "pixels in [0, 1]": PIXELS,
    "pixels in [-1, 1]": SYMMETRIC,
    "ImageNet normalisation": IMAGENET,
    "CLIP normalisation": CLIP,
}


def describe_preprocessing(own: PreprocessingSettings, remark: str = "") -> str:
    """Return a text on the preprocessing: resize and crop, normalisation, order of the channels.

    ``remark`` is appended to the normalisation.
    """
    return ", ".join(
        [_size(own), f"{_normalisation(own)}{remark}", *(["BGR"] if own.channels == "bgr" else [])]
    )


def _size(own: PreprocessingSettings) -> str:
    if own.input_size is None and own.resize_to is None:
        return "images at their own size"
    if own.input_size is None:
        to = f"shorter side {own.resize_to}" if isinstance(own.resize_to, int) else _sides(own.resize_to)
        return f"{to} ({own.resample})"
    size = _sides(own.input_size)
    if not own.crops:
        return f"{size} for any shape ({own.resample})"
    parts = []
    if isinstance(own.resize_to, int):
        parts.append(f"shorter side {own.resize_to} ({own.resample})")
    elif own.resize_to is not None:
        parts.append(f"{_sides(own.resize_to)} ({own.resample})")
    parts.append(_views(own, size))
    parts += [] if own.pad is None else [_padding(own.pad)]
    return ", ".join(parts)


def _views(own: PreprocessingSettings, size: str) -> str:
    if own.crop == "five":
        return f"five crops {size} ({_combined(own.combine)})"
    if own.crop == "tiles":
        every = "" if own.stride in (None, own.input_size) else f" every {_sides(own.stride)}"
        return f"tiles {size}{every} ({_combined(own.combine)})"
    return f"centre crop {size}"


def _combined(rule: str) -> str:
    return _COMBINED.get(rule) or f"mean of the {rule.removeprefix('top')} highest scores"


_COMBINED = {"mean_score": "mean score", "mean_logit": "mean logit", "max_score": "highest score"}


def _padding(pad: float | str) -> str:
    if pad == "reflect":
        return "smaller images are reflected at their edges"
    return f"smaller images are padded with {'black' if pad == 0 else f'grey {pad:g}'}"


def _sides(size: tuple[int, int] | None) -> str:
    return "" if size is None else f"{size[0]}×{size[1]}"


def _normalisation(own: PreprocessingSettings) -> str:
    for name, known in _NAMED.items():
        if all(
            math.isclose(a, b, abs_tol=1e-3)
            for a, b in zip((*own.mean, *own.std), (*known.mean, *known.std), strict=True)
        ):
            return name
    return f"mean {_listed(own.mean)}, std {_listed(own.std)}"


def _listed(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in dict.fromkeys(values))


def with_later_settings(written: JsonValue) -> JsonValue:
    """Return settings as a run or a card has them, at any depth, with the defaults of settings that came later."""
    if isinstance(written, dict):
        return {**json.loads(json.dumps(asdict(PreprocessingSettings()))), **written}
    return [with_later_settings(each) for each in written] if isinstance(written, list) else written
