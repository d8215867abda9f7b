"""Conversion of a caller's images and labels to levels and numbers, and back."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from robustbench_aigen.errors import UserError, first_line, shortened
from robustbench_aigen.file_reading import located_file, read_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode, rgb_levels
from robustbench_aigen.numerics.eight_bit import LEVELS, to_levels, to_pixels
from robustbench_aigen.text import counted
from robustbench_aigen.words import label_of

ImageLike: TypeAlias = Tensor | NDArray[Any] | Image.Image | str | PathLike[str]
ImagesLike: TypeAlias = ImageLike | Sequence[ImageLike]
"""A tensor or an array N×3×H×W, float in [0, 1] or of whole numbers in 0…255, a list of images 3×H×W, PIL images or paths
whose sizes may differ, or a single PIL image or path."""
LabelsLike: TypeAlias = Tensor | ArrayLike | Sequence[int | str]
"""0 or "real", 1 or "fake", one for each image."""

_SLACK = 1e-5
"""Distance that a float pixel may have outside [0, 1]; filters and undone normalisation cause such distances."""
_OFF_GRID = {torch.float16: 0.13}
"""Levels by which multiples of 1/255 may miss the 8-bit grid in a type with few digits; 0.01 in others."""
ACCEPTED = "an image is a 3×H×W tensor or array, a PIL image, or a path"
_FORMS = "a tensor or an array N×3×H×W, or a list of images 3×H×W, PIL images or paths"


def to_levels_list(images: ImagesLike) -> list[Tensor]:
    """Return images as 3×H×W uint8 tensors on the CPU.

    Floats are rounded to the nearest of 256 levels. PIL images and files become RGB as Pillow converts them, upright.

    Raises
    ------
    UserError
        For anything else, pixels outside the range, NaN, a wrong shape, and a file that cannot be
        read: which image, and what to do.
    """
    if _is_stack(images):
        check_stack(images)
        listed: list[Any] = [*(images.cpu() if isinstance(images, Tensor) and not images.is_meta else images)]
    else:
        listed = _listed(images)
    # Rounded in float32: half precision is coarser than a level for bright pixels.
    plain = [
        image.float() if isinstance(image, Tensor) and image.is_floating_point() else image
        for image in listed
    ]
    return [levels_of(image, name) for image, name in zip(plain, names_of(images), strict=True)]


def _is_stack(images: object) -> TypeGuard[Tensor | NDArray[Any]]:
    return isinstance(images, Tensor) or (isinstance(images, np.ndarray) and images.dtype.kind not in "OUS")


def levels_of(image: object, where: str = "image") -> Tensor:
    """Return an image as levels.

    Parameters
    ----------
    image
        A 3×H×W tensor or NumPy array of floats in [0, 1] or integers from 0 to 255, a PIL image, or the path of a
        file. Floats are rounded to the nearest level.
    where
        Name of the image in messages.

    Returns
    -------
    Tensor
        3×H×W uint8 on the CPU, a copy.

    Raises
    ------
    UserError
        If the image has another type, or its values are outside the range.
    """
    return levels_and_rounding(image, where)[0]


def levels_and_rounding(image: object, where: str) -> tuple[Tensor, bool]:
    """Return the levels of an image, and whether it was rounded to the 8-bit grid."""
    if isinstance(image, str | PathLike):
        try:
            return decode(read_file(located_file(fspath(image), (Path(),)))), False
        except UnreadableImageError as error:
            raise UserError(f"is not a readable image: {error}", file=fspath(image)) from error
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise UserError(f"cannot be read: {reason}", file=fspath(image)) from error
    if isinstance(image, Image.Image):
        try:
            return rgb_levels(image), False
        except (OSError, ValueError, SyntaxError, UnreadableImageError) as error:
            raise UserError(f"the PIL image cannot be read: {first_line(error)}", key=where) from error
    pixels = _as_tensor(image, where)
    _check_shape(tuple(pixels.shape), where)
    if pixels.dtype.is_floating_point:
        _check_floats(pixels, where)
        levels = to_levels(pixels)
        missed = (pixels.double() * LEVELS - levels).abs().max().item()
        return levels, missed > _OFF_GRID.get(pixels.dtype, 0.01)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > LEVELS:
        is_wide = low >= 0 and high < 1 << 16
        hint = "divide 16-bit levels by 257" if is_wide else "give floats in [0, 1] or integers from 0 to 255"
        raise UserError(
            f"integers from {low} to {high}: levels are integers from 0 to 255", key=where, hint=hint
        )
    return pixels.to(torch.uint8).clone(), False


def _as_tensor(image: object, where: str) -> Tensor:
    """Return the values of an image as a dense tensor on the CPU; integers may be of any size."""
    if isinstance(image, Tensor):
        if image.layout != torch.strided or image.is_quantized:
            raise UserError(
                "a sparse or quantised tensor is not an image", key=where, hint="image.to_dense()"
            )
        kind = "b" if image.dtype == torch.bool else "c" if image.dtype.is_complex else ""
        if image.is_meta:
            hint = "load the values before"
            raise UserError("a tensor with a shape and no values (a meta tensor)", key=where, hint=hint)
        # Subclasses of tensors, as torchvision's, change what operators return.
        pixels = image.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg()
        pixels = pixels.float() if pixels.dtype.itemsize == 1 and pixels.dtype.is_floating_point else pixels
    else:
        if not (isinstance(image, np.ndarray) or hasattr(image, "__array__")):
            raise UserError(f"{described(image)} is not an image", key=where, hint=ACCEPTED)
        array = np.asarray(image)
        kind = array.dtype.kind if array.dtype.kind not in "fiu" else ""
        if array.dtype.kind in "iu" and array.dtype != np.uint8:
            # Larger than any level is refused as it is; torch has not every unsigned type.
            array = (
                array.astype(np.int64)
                if array.dtype != np.uint64
                else array.clip(0, 1 << 62).astype(np.int64)
            )
        elif array.dtype.kind == "f":
            array = array.astype(np.float16 if array.dtype.itemsize == 2 else np.float32 if array.dtype.itemsize == 4 else np.float64)  # fmt: skip
        pixels = torch.empty(0) if kind else torch.from_numpy(np.array(array))
    if kind:
        what = {"b": "truth values", "c": "complex numbers"}.get(kind, "values that are not numbers")
        raise UserError(
            f"{what} are not an image", key=where, hint="give floats in [0, 1] or integers from 0 to 255"
        )
    return pixels


def _check_shape(shape: tuple[int, ...], where: str, *, batch: bool = False) -> None:
    """Refuse what is not 3×H×W, and say how to make it so."""
    shown = f"N×{shape_text(shape)}" if batch else shape_text(shape)
    wanted, before = ("N×3×H×W", "0, ") if batch else ("3×H×W", "")
    front = ":, " if batch else ""
    if len(shape) == 3 and shape[0] == 3 and shape[1] and shape[2]:
        return
    hint: str | None = None
    what = f"has the shape {shown}, not {wanted}"
    if len(shape) == 3 and shape[1] and shape[2] and shape[0]:
        last = [axis + batch for axis in (2, 0, 1)]
        if shape[2] == 3:
            what += ": the channels are last"
            hint = f"put them first: .permute({before}{', '.join(map(str, last))}) of a tensor, .transpose(…) of an array"
        elif shape[0] in (2, 4):
            what += ": there is an alpha channel" if shape[0] == 4 else ": there are two channels"
            hint = (
                f"drop alpha: [{front}:3]" if shape[0] == 4 else "three channels are needed: red, green, blue"
            )
        elif shape[0] == 1:
            what += ": there is one channel"
            hint = f"repeat a grey channel: .repeat({'1, ' if batch else ''}3, 1, 1) of a tensor"
        elif shape[2] in (1, 4):
            what += f": the channels are last, and there {'is one' if shape[2] == 1 else 'are four'}"
            hint = "three channels in front are needed: red, green, blue"
    elif len(shape) == 2:
        what += ": there is no axis of channels"
        hint = "repeat a grey channel: torch.stack([image] * 3)"
    elif len(shape) == 4:
        hint = "give the images of a batch one by one: list(batch)"
    elif 0 in shape:
        what += ": the image is empty"
        hint = "leave the image out"
    raise UserError(what, key=where, hint=hint)


def _check_floats(pixels: Tensor, where: str) -> None:
    low, high = pixels.min().item(), pixels.max().item()
    if not np.isfinite([low, high]).all():
        # The extremes of a tensor with NaN are NaN.
        what = "NaN" if np.isnan(low) or np.isnan(high) else "infinite values"
        raise UserError(
            f"the image has {what}",
            key=where,
            hint="correct the source of these values, or leave the image out",
        )
    if low < -_SLACK or high > 1 + _SLACK:
        if low < -_SLACK:
            hint = "if they were normalised: images * std + mean; if they run from -1 to 1: (images + 1) / 2"
        elif high > LEVELS:
            hint = "scale them to [0, 1]"
        else:
            hint = "if they are levels from 0 to 255: images / 255"
        raise UserError(f"floats from {low:.4g} to {high:.4g}: pixels are in [0, 1]", key=where, hint=hint)


def check_stack(images: Tensor | NDArray[Any]) -> None:
    """Raise UserError unless a tensor or an array is one of images, N×3×H×W."""
    if images.ndim == 3 and 3 in (images.shape[0], images.shape[-1]):
        raise UserError(f"images have the shape {shape_text(images.shape)}: one image", hint="[image]")
    if images.ndim != 4:
        raise UserError(f"images have the shape {shape_text(images.shape)}, not N×3×H×W", hint=ACCEPTED)
    if len(images):
        _check_shape(tuple(images.shape[1:]), "images", batch=True)


def names_of(images: ImagesLike) -> list[str]:
    """Return names of images for messages: their paths, or their places."""
    listed = [*images] if _is_stack(images) else _listed(images)
    return [
        fspath(image) if isinstance(image, str | PathLike) else f"images[{place}]"
        for place, image in enumerate(listed)
    ]


def like_given(levels: Sequence[Tensor], given: ImagesLike) -> Any:
    """Return levels in the form that images were given in: a tensor, an array, a list, PIL images.

    Tensors and arrays keep their dtype, floats in [0, 1], and their device. Of what was a path a PIL image is returned.

    Parameters
    ----------
    levels
        3×H×W uint8, one for each image given.
    given
        The images as the caller gave them.
    """
    if isinstance(given, Image.Image | str | PathLike):
        return _pil(levels[0])
    if not _is_stack(given):
        return [_as_given(image, like) for image, like in zip(levels, given, strict=True)]
    if not levels:
        return given[:0]
    alike = len({image.shape for image in levels}) == 1
    return (
        _as_given(torch.stack([*levels]), given) if alike else [_as_given(image, given) for image in levels]
    )


def _as_given(levels: Tensor, like: object) -> Tensor | NDArray[Any] | Image.Image:
    """Return one image, or several of one size, as a tensor, an array or a PIL image was given."""
    if isinstance(like, Tensor):
        values = to_pixels(levels) if like.is_floating_point() else levels
        return values.to(like.dtype).to(like.device)
    if isinstance(like, np.ndarray):
        values = to_pixels(levels) if like.dtype.kind == "f" else levels
        return values.cpu().numpy().astype(like.dtype)
    return _pil(levels)


def labels_of(labels: LabelsLike, count: int) -> Tensor:
    """Return labels as ``count`` whole numbers, 0 real and 1 fake.

    Raises
    ------
    UserError
        If there are more or fewer, or one is neither 0, 1, "real" nor "fake".
    """
    if isinstance(labels, str | bytes | Mapping | set) or not isinstance(labels, Iterable):
        raise UserError(f"labels must be a list, an array or a tensor, not {_shown(labels)}", hint=_LABELS)
    if isinstance(labels, Tensor | np.ndarray):
        if labels.ndim != 1:
            shape = "×".join(map(str, labels.shape)) or "a single number"
            raise UserError(f"labels must be one number for each image, not of shape {shape}", hint=_LABELS)
        listed = labels.tolist()
    else:
        listed = [
            item.item() if isinstance(item, Tensor | np.generic) and _is_single(item) else item
            for item in labels
        ]
    if len(listed) != count:
        raise UserError(
            f"there are {counted(len(listed), 'label')} for {counted(count, 'image')}", hint=_LABELS
        )
    found: list[Any] = [
        label_of(item, context="column") if isinstance(item, str) else item for item in listed
    ]
    for place, item in enumerate(found):
        if not isinstance(item, int | float) or item not in (0, 1):
            raise UserError(
                f"label {place} is {_shown(listed[place])}, neither 0, 1, 'real' nor 'fake'", hint=_LABELS
            )
    return torch.tensor([int(item) for item in found], dtype=torch.long)


_LABELS = "give one label for each image: 0 or 'real', 1 or 'fake'"


def _listed(images: object) -> list[object]:
    """Return the single images."""
    if isinstance(images, Image.Image | str | PathLike):
        return [images]
    if isinstance(images, bytes | Mapping | set) or not isinstance(images, Iterable):
        raise UserError(f"images are {_shown(images)}", hint=f"give {_FORMS}")
    if not hasattr(images, "__len__"):
        raise UserError(f"images are {_shown(images)}, which can be read once only", hint="give list(images)")
    if hasattr(images, "columns"):
        raise UserError("images are a data frame", hint="give the column of paths, for example frame['path']")
    return [*images]


def _pil(levels: Tensor) -> Image.Image:
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def _is_single(item: Tensor | np.generic) -> bool:
    return item.ndim == 0 or (isinstance(item, Tensor) and item.numel() == 1)


def _shown(value: object) -> str:
    text = repr(value)
    return shortened(text) if isinstance(value, str | int | float | None) else type(value).__name__


def described(value: object) -> str:
    """Return the type of a value, and its shape where it has one."""
    shape: Any = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" {shape_text(shape)}" if shape is not None else "")


def shape_text(shape: Iterable[int]) -> str:
    """Write a shape: ``3×32×32``."""
    return "×".join(map(str, shape)) or "of one number"
