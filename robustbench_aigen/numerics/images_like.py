"""Images and labels as a caller has them in memory, made into levels and numbers, and back."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode, rgb_levels
from robustbench_aigen.numerics.eight_bit import LEVELS, to_levels, to_pixels
from robustbench_aigen.text import counted
from robustbench_aigen.words import label_of

ImageLike: TypeAlias = Tensor | Image.Image | str | PathLike[str]
ImagesLike: TypeAlias = ImageLike | Sequence[ImageLike]
"""A tensor N×3×H×W, float in [0, 1] or of whole numbers in 0…255, a list of images 3×H×W, PIL images or paths whose sizes
may differ, or a single PIL image or path."""
LabelsLike: TypeAlias = Tensor | ArrayLike | Sequence[int | str]
"""0 or "real", 1 or "fake", one for each image."""

_ROUND_OFF = 1e-6
"""How far a float pixel may lie outside [0, 1]: filters and normalisation that is undone leave as much."""
_FORMS = "a tensor N×3×H×W, or a list of 3×H×W tensors, PIL images or paths"


def to_levels_list(images: ImagesLike) -> list[Tensor]:
    """Return images as 3×H×W uint8 tensors on the CPU.

    Floats are rounded to the nearest of 256 levels. PIL images and files become RGB as Pillow converts them, upright.

    Raises
    ------
    UserError
        For anything else, pixels outside the range, NaN, a shape that is none of an image, and a file that cannot be
        read: which image, and what to do.
    """
    if isinstance(images, Tensor):
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
            raise _wrong_shape("images", images, "N×3×H×W")
        return [*_levels(images, "images")]
    return [
        _levels_of_one(image, name) for image, name in zip(_listed(images), names_of(images), strict=True)
    ]


def names_of(images: ImagesLike) -> list[str]:
    """Return what to call images in a message: their paths, or their places."""
    listed = [*images] if isinstance(images, Tensor) else _listed(images)
    return [
        fspath(image) if isinstance(image, str | PathLike) else f"image {place}"
        for place, image in enumerate(listed)
    ]


def like_given(
    levels: Sequence[Tensor], given: ImagesLike
) -> Tensor | Image.Image | list[Tensor | Image.Image]:
    """Return levels in the form that images were given in: a tensor, a list, PIL images.

    Tensors keep their dtype, floats in [0, 1], and their device. Of what was a path a PIL image is returned.

    Parameters
    ----------
    levels
        3×H×W uint8, one for each image given.
    given
        The images as the caller gave them.
    """
    if isinstance(given, Tensor):
        if len({image.shape for image in levels}) > 1:
            return [_tensor_like(image, given) for image in levels]
        return _tensor_like(torch.stack([*levels]), given) if levels else given[:0]
    if isinstance(given, Image.Image | str | PathLike):
        return _pil(levels[0])
    return [
        _tensor_like(image, like) if isinstance(like, Tensor) else _pil(image)
        for image, like in zip(levels, given, strict=True)
    ]


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
    if isinstance(images, np.ndarray) and images.dtype != object and images.dtype.kind not in "US":
        raise UserError("images are a NumPy array", hint=_AS_TENSOR)
    if isinstance(images, bytes | Mapping | set) or not isinstance(images, Iterable):
        raise UserError(f"images are {_shown(images)}", hint=f"give {_FORMS}")
    if not hasattr(images, "__len__"):
        raise UserError(f"images are {_shown(images)}, which can be read once only", hint="give list(images)")
    if hasattr(images, "columns"):
        raise UserError("images are a data frame", hint="give the column of paths, for example frame['path']")
    return [*images]


_AS_TENSOR = "give torch.from_numpy(images): N×3×H×W, after .permute(0, 3, 1, 2) where the channels come last"


def _levels_of_one(image: object, name: str) -> Tensor:
    if isinstance(image, Tensor):
        if image.dim() != 3 or image.shape[0] != 3 or 0 in image.shape:
            raise _wrong_shape(name, image, "3×H×W")
        return _levels(image[None], name)[0]
    if isinstance(image, str | PathLike):
        path = Path(fspath(image))
        try:
            return decode(read_file(path))
        except UnreadableImageError as error:
            raise UserError(f"is not a readable image: {error}", file=path) from error
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror or error}", file=path) from error
    if isinstance(image, Image.Image):
        try:
            return rgb_levels(image)
        except (UnreadableImageError, OSError) as error:
            raise UserError(f"{name} is not a readable image: {error}") from error
    if isinstance(image, np.ndarray):
        raise UserError(
            f"{name} is a NumPy array",
            hint="give PIL.Image.fromarray(image), or torch.from_numpy(image) of 3×H×W",
        )
    raise UserError(f"{name} is {_shown(image)}", hint=f"give {_FORMS}")


def _levels(images: Tensor, what: str) -> Tensor:
    """Return N×3×H×W uint8 on the CPU for pixels or levels."""
    if images.is_meta:
        raise UserError(f"{what}: a tensor with a shape and no values (a meta tensor)")
    if images.is_complex() or images.dtype == torch.bool or images.is_quantized:
        raise UserError(
            f"{what} are of type {_dtype(images)}"
            if what == "images"
            else f"{what} is of type {_dtype(images)}",
            hint="give floats in [0, 1] or uint8",
        )
    # Subclasses of tensors, as torchvision's, change what operators return.
    plain = images.detach().as_subclass(Tensor).cpu()
    if plain.dtype == torch.uint8 or not len(plain):
        return plain.to(torch.uint8)
    values = plain.flatten(1).double() if plain.is_floating_point() else plain.flatten(1)
    if plain.is_floating_point():
        _refuse(
            ~values.isfinite().all(dim=1),
            what,
            "NaN or infinite pixels",
            "leave the image out, or look for a division by zero",
        )
        low, high = values.amin(dim=1), values.amax(dim=1)
        outside = (low < -_ROUND_OFF) | (high > 1 + _ROUND_OFF)
        hint = (
            "undo the normalisation: the detector has mean= and std= itself"
            if float(low.min()) < -_ROUND_OFF
            else "divide by 255, or give uint8"
        )
        _refuse(
            outside,
            what,
            f"pixels from {float(low[outside].min()) if outside.any() else 0:.4g} to {float(high[outside].max()) if outside.any() else 0:.4g}; floats must be in [0, 1]",
            hint,
        )
        return to_levels(plain.float())
    low, high = values.amin(dim=1), values.amax(dim=1)
    outside = (low < 0) | (high > LEVELS)
    span = f"{int(low.min())} to {int(high.max())}"
    _refuse(
        outside,
        what,
        f"whole numbers from {span}; levels must be in 0…255",
        "scale 16-bit images to 8 bits: images // 257",
    )
    return plain.to(torch.uint8)


def _refuse(bad: Tensor, what: str, has: str, hint: str) -> None:
    """Raise UserError where an image is bad, with the first of them named."""
    rows = bad.nonzero().flatten().tolist()
    if rows:
        more = f" and {len(rows) - 1} more of {len(bad)}" if len(rows) > 1 else ""
        name = f"image {rows[0]}{more}" if what == "images" else what
        raise UserError(f"{name} {'have' if more else 'has'} {has}", hint=hint)


def _wrong_shape(what: str, tensor: Tensor, wanted: str) -> UserError:
    shape = "×".join(map(str, tensor.shape)) or "a single number"
    hint = f"give {_FORMS}"
    sides = tuple(tensor.shape)
    if wanted == "N×3×H×W" and len(sides) == 3:
        hint = (
            "a single image is images[None]"
            if sides[0] == 3
            else "grey images are images[:, None].expand(-1, 3, -1, -1)"
        )
    elif sides and sides[-1] == 3:
        hint = f"the channels come last: {'images.permute(0, 3, 1, 2)' if len(sides) == 4 else 'image.permute(2, 0, 1)'}"
    elif len(sides) >= 3 and sides[-3] == 1:
        hint = (
            "grey images are repeated: images.expand(-1, 3, -1, -1)"
            if len(sides) == 4
            else "grey images are repeated: image.expand(3, -1, -1)"
        )
    elif len(sides) >= 3 and sides[-3] == 4:
        hint = (
            "leave the alpha channel out: images[:, :3]"
            if len(sides) == 4
            else "leave the alpha channel out: image[:3]"
        )
    return UserError(f"{what} must be {wanted}, not {shape}", hint=hint)


def _tensor_like(levels: Tensor, like: Tensor) -> Tensor:
    made = to_pixels(levels).to(like.dtype) if like.is_floating_point() else levels.to(like.dtype)
    return made.to(like.device)


def _pil(levels: Tensor) -> Image.Image:
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def _is_single(item: Tensor | np.generic) -> bool:
    return item.ndim == 0 or (isinstance(item, Tensor) and item.numel() == 1)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shown(value: object) -> str:
    text = repr(value)
    return shortened(text) if isinstance(value, str | int | float | None) else type(value).__name__
