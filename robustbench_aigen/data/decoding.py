"""Encoded images to RGB levels."""

import io

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from robustbench_aigen.errors import first_line

_ORIENTATION = 0x0112
_UPRIGHT = 1


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why."""


def decode(encoded: bytes) -> Tensor:
    """Decode an image file to 3×H×W uint8 RGB, turned upright by its EXIF orientation.

    Whatever the file holds becomes RGB as Pillow converts it, which is what detectors are trained on: a palette is
    looked up, grey repeated, an alpha channel dropped, CMYK converted without a profile; of several frames the first
    is taken, of 16 bits the upper eight. Threads may call it side by side: nothing global is touched, and Pillow's
    decoders let other threads run.

    Raises
    ------
    UnreadableImageError
        If the bytes are not a whole image, or one so large that Pillow takes it for a decompression bomb.
    """
    if not encoded:
        raise UnreadableImageError("missing or empty")
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            refuse_bomb(image)
            image.load()
            array = np.array(_rgb(_upright(image)))
    except (MemoryError, UnreadableImageError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image") from None
    except Exception as error:
        raise UnreadableImageError(first_line(error)) from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def refuse_bomb(image: Image.Image) -> None:
    """Refuse an image, opened and not yet loaded, above Pillow's limit. Pillow itself refuses from twice of it.

    Raises
    ------
    UnreadableImageError
        If it is so large.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImageError(
            f"{image.width}×{image.height} pixels: too large, it could be a decompression bomb"
        )


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    except Exception:  # noqa: BLE001  Damaged metadata says nothing of the orientation; the pixels are whole.
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit grey at 255 instead of scaling.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() >= 1 << 16:
            raise UnreadableImageError("32-bit pixels have no range of their own")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no range of their own")
    elif image.mode == "P" and "transparency" in image.info:
        # Pillow warns of a direct conversion.
        image = image.convert("RGBA")
    return image.convert("RGB")
