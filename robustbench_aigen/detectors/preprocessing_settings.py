"""Settings of the preprocessing and their description. Nothing here needs torch."""

import math
from dataclasses import dataclass

from robustbench_aigen.detectors.normalisation import CLIP, IMAGENET, PIXELS, SYMMETRIC, Normalisation
from robustbench_aigen.scenario.detector_spec import Channels, Outputs, Resample

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
        Before a centre crop to ``input_size``: the shorter side, or height and width. None resizes to
        ``input_size`` itself and crops nothing.
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
    eight_bit: bool = False
    crop_rounds_down: bool = False


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
    if own.input_size is None:
        return "images at their own size"
    size = f"{own.input_size[0]}×{own.input_size[1]}"
    if isinstance(own.resize_to, int):
        return f"shorter side {own.resize_to} ({own.resample}), centre crop {size}"
    if own.resize_to is not None:
        return f"{own.resize_to[0]}×{own.resize_to[1]} ({own.resample}), centre crop {size}"
    return f"{size} for any shape ({own.resample})"


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
