"""Encoded images to RGB levels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from robustbench_aigen.errors import first_line
from robustbench_aigen.file_reading import RefusedFileError, refuse_size

if TYPE_CHECKING:
    from torch import Tensor

MOST_PIXELS = 50_000_000
"""Largest number of pixels of an image, enough for nearly all cameras. A detector needs about 60 bytes per pixel."""
_ORIENTATION = 0x0112
_UPRIGHT = 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that turn an image upright, by EXIF orientation."""
_RUNS_A_PROGRAM = "EPS"
"""The format that Pillow passes to Ghostscript."""


MISSING = "missing or empty"
"""Reason for an unreadable image without bytes."""


class Unread(bytes):
    """Empty bytes with the reason why an image is unreadable, which decoding reports."""

    reason: str

    def __new__(cls, reason: str) -> Self:
        """Make empty bytes with a reason."""
        unread = super().__new__(cls)
        unread.reason = reason
        return unread


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why."""


def decode(encoded: bytes) -> "Tensor":
    """Decode an image file to 3×H×W uint8 RGB, turned upright by its EXIF orientation.

    Every mode becomes RGB by Pillow's conversion, as in the training of detectors: a palette is
    looked up, grey repeated, an alpha channel dropped, CMYK converted without a profile; of several frames the first
    is taken, of 16 bits the upper eight. Threads may call it side by side: nothing global is touched, and Pillow's
    decoders let other threads run.

    Raises
    ------
    UnreadableImageError
        If the bytes are not a whole image, or one of more than :data:`MOST_PIXELS`.
    """
    with opened_image(encoded) as image:
        return rgb_levels(image)


def rgb_levels(image: Image.Image) -> "Tensor":
    """Return the levels of a Pillow image as 3×H×W uint8 RGB, as :func:`decode` does of a file's.

    Raises
    ------
    UnreadableImageError
        If its pixels have no range of their own.
    """
    import torch  # Opening data without decoding does not need torch.

    image.load()
    array = np.array(_rgb(_upright(image)))
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


@contextmanager
def opened_image(encoded: bytes) -> Iterator[Image.Image]:
    """Open an image within the size limits and read its header, not its pixels.

    Raises
    ------
    UnreadableImageError
        If it is not an image or too large, and in place of Pillow's errors inside the block.
    """
    if not encoded:
        raise UnreadableImageError(encoded.reason if isinstance(encoded, Unread) else MISSING)
    try:
        refuse_size(len(encoded))
        with Image.open(io.BytesIO(encoded)) as image:
            _refuse_pixels(image)
            yield image
    except (MemoryError, UnreadableImageError):
        raise
    except Exception as error:
        raise UnreadableImageError(_why_unreadable(error)) from error


def _refuse_pixels(image: Image.Image) -> None:
    """Refuse a format that runs a program, and an image above the limit: Pillow's limit, if lower."""
    if image.format == _RUNS_A_PROGRAM:
        raise UnreadableImageError("PostScript, which only an external program can read")
    limit = min(MOST_PIXELS, Image.MAX_IMAGE_PIXELS or MOST_PIXELS)
    if image.width * image.height > limit:
        raise UnreadableImageError(
            f"{image.width}×{image.height} pixels: above the limit of {limit / 1e6:.3g} million pixels"
        )


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return f"above the limit of {MOST_PIXELS / 1e6:.3g} million pixels: {first_line(error)}"
    return str(error) if isinstance(error, RefusedFileError) else first_line(error)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, _UPRIGHT))
    except Exception:  # noqa: BLE001  Damaged metadata hides the orientation; the pixels are whole.
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit grey at 255 instead of scaling.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() >= 1 << 16:
            raise UnreadableImageError("32-bit pixels have no defined range")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no defined range")
    elif image.mode == "P" and "transparency" in image.info:
        # Pillow warns of a direct conversion.
        image = image.convert("RGBA")
    return image.convert("RGB")
