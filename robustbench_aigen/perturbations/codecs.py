"""Lossy codecs: the real encoders through Pillow, not approximations."""

import io
import os
import tempfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.seeding import SampleStreams
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


def jpeg_cycles(levels: Tensor, streams: SampleStreams, *, cycles: int, quality: int) -> Tensor:
    """Store as JPEG several times, each time with the 8×8 grid at another place, as cropping and pasting do.

    The edges are repeated before each cycle and cut off after it, by 0 to 7 pixels that each image draws.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    streams
        One stream an image.
    cycles
        Generations of encoding.
    quality
        Quality of the JPEGs, 1 to 100, chroma 4:2:0.
    """
    height, width = levels.shape[-2:]
    for _ in range(cycles):
        shifts = (8 * streams.uniform(0, 1, (2,))).astype(int).tolist()
        padded = [
            np.pad(image.numpy(), ((0, 0), (top, 0), (left, 0)), mode="edge")
            for image, (top, left) in zip(levels.cpu(), shifts, strict=True)
        ]
        stored = [
            jpeg(torch.from_numpy(image)[None], quality=quality, subsampling="4:2:0", repeats=1)[0]
            for image in padded
        ]
        levels = torch.stack([image[:, -height:, -width:] for image in stored])
    return levels


def encoded(
    levels: Tensor, format_: str, exif: Sequence[bytes] | None = None, **options: object
) -> list[bytes]:
    """Return N×3×H×W uint8 images as files of a format of Pillow, with N EXIF blocks if there are such."""
    _check_sides(levels, format_)
    files = []
    for place, image in enumerate(levels.cpu()):
        with _file(format_) as buffer:
            picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            written = {} if exif is None else {"exif": exif[place]}
            picture.save(buffer, format_, **written, **options)
            buffer.seek(0)
            files.append(buffer.read())
    return files


def _through(levels: Tensor, format_: str, **options: object) -> Tensor:
    _check_sides(levels, format_)

    def store(picture: Image.Image) -> Image.Image:
        with _file(format_) as buffer:
            picture.save(buffer, format_, **options)
            stored = Image.open(buffer)
            stored.load()
            return stored

    return on_pictures(levels, store)


def _check_sides(levels: Tensor, format_: str) -> None:
    height, width = levels.shape[-2:]
    if max(height, width) > _LARGEST[format_]:
        raise UserError(f"an image of {width}×{height} pixels cannot be stored as {format_}")


def _file(format_: str) -> BinaryIO:
    """Return a file in memory, where there are such files: Pillow encodes JPEG without Python's lock only into files."""
    if format_ != "JPEG":
        return io.BytesIO()
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("jpeg"), "w+b")
    return tempfile.TemporaryFile()
