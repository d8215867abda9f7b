"""Lossy codecs: the real encoders through Pillow, not approximations."""

import io
import os
import tempfile
from typing import BinaryIO

from PIL import Image, features
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.perturbations.pixelwise import on_pictures

_LARGEST = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
"""Pixels a side that a format holds."""


def jpeg(levels: Tensor, *, quality: int, subsampling: str, repeats: int) -> Tensor:
    """Store as JPEG (libjpeg) and decode, ``repeats`` times.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    quality
        libjpeg's quality factor, 1 to 100.
    subsampling
        Subsampling of the chroma: ``4:2:0``, ``4:2:2`` or ``4:4:4``.
    repeats
        Generations of encoding.
    """
    for _ in range(repeats):
        levels = _through(levels, "JPEG", quality=quality, subsampling=subsampling)
    return levels


def webp(levels: Tensor, *, quality: int) -> Tensor:
    """Store as lossy WebP (libwebp) of a quality from 0 to 100 and decode."""
    return _through(levels, "WEBP", quality=quality)


def avif(levels: Tensor, *, quality: int) -> Tensor:
    """Store as AVIF (libavif) of a quality from 0 to 100 and decode.

    Raises
    ------
    UserError
        If this Pillow was built without AVIF.
    """
    if not features.check("avif"):
        raise UserError("this Pillow cannot write AVIF", hint="install Pillow 11.3 or newer")
    return _through(levels, "AVIF", quality=quality)


def _through(levels: Tensor, format_: str, **options: object) -> Tensor:
    height, width = levels.shape[-2:]
    if max(height, width) > _LARGEST[format_]:
        raise UserError(f"an image of {width}×{height} pixels cannot be stored as {format_}")

    def store(picture: Image.Image) -> Image.Image:
        with _file() if format_ == "JPEG" else io.BytesIO() as buffer:
            picture.save(buffer, format_, **options)
            stored = Image.open(buffer)
            stored.load()
            return stored

    return on_pictures(levels, store)


def _file() -> BinaryIO:
    """Return a file in memory, where there are such files: Pillow encodes JPEG without Python's lock only into files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("jpeg"), "w+b")
    return tempfile.TemporaryFile()
