"""Masks as pixels: which positions of an image a stage may change."""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.masks import Mask, read_mask

_STREAM = 2_000_000
"""Restart number of the streams that draw the places of masks; no attack counts its restarts that far."""
_WIDEST, _TALLEST, _SMALLEST_FONT = 0.9, 0.25, 4
"""Largest share of the width and of the height that a line of text takes, and the smallest size of its letters."""


def masks_of(mask: str, size: Sequence[int], streams: SampleStreams) -> Tensor:
    """Return the masks of images of one size, N×1×H×W booleans on the CPU.

    Parameters
    ----------
    mask
        As in a scenario: ``area@0.1``.
    size
        Height and width of the images in pixels.
    streams
        The images' random streams; only ``area`` draws, from streams of its own.

    Raises
    ------
    UserError
        If a file is missing, empty or of another size, or no pixel of an image is in the mask.
    """
    wanted, (height, width) = read_mask(mask), size
    if wanted.is_drawn:
        places = streams.for_restart(_STREAM).uniform(0, 1, (2,))
        drawn = np.stack([_window(wanted.shares[0], height, width, place) for place in places])
        return torch.from_numpy(drawn).unsqueeze(1)
    return torch.from_numpy(_fixed(wanted, height, width)).expand(len(streams), 1, height, width)


def mask_shares(mask: str, size: Sequence[int], streams: SampleStreams) -> Tensor:
    """Return the share of the image that is in the mask, N float32; of a file its own share at any size.

    The parameters are those of :func:`masks_of`.
    """
    wanted = read_mask(mask)
    if wanted.shape == "file":
        return torch.full((len(streams),), float(_read(wanted.text).mean()))
    return masks_of(mask, size, streams).flatten(1).float().mean(dim=1)


def mask_identity(mask: str) -> str:
    """Return what identifies a mask: the mask as written, or the content of its file without the path."""
    wanted = read_mask(mask)
    return f"file@{sha256_of_file(Path(wanted.text))}" if wanted.shape == "file" else str(wanted)


def file_size(path: str) -> tuple[int, int]:
    """Return height and width of a mask file, which has at least one white pixel.

    Raises
    ------
    UserError
        If the file cannot be read, or has no white pixel.
    """
    pixels = _read(path)
    return pixels.shape[0], pixels.shape[1]


def _fixed(mask: Mask, height: int, width: int) -> NDArray[np.bool_]:
    if mask.shape == "file":
        pixels = _read(mask.text)
        if pixels.shape != (height, width):
            own = "×".join(map(str, pixels.shape))
            raise UserError(
                f"mask '{mask.text}' has {own} pixels, and an image has {height}×{width}",
                hint="give a mask of the size of the images, or box@, border@ or area@ for any size",
            )
        return pixels
    pixels = np.zeros((height, width), dtype=bool)
    if mask.shape == "border":
        frame = max(1, round(mask.shares[0] * min(height, width)))
        pixels[:] = True
        pixels[frame : height - frame, frame : width - frame] = False
    elif mask.shape == "box":
        left, top, right, bottom = mask.shares
        first_row, first_column = min(round(top * height), height - 1), min(round(left * width), width - 1)
        last_row, last_column = (
            max(round(bottom * height), first_row + 1),
            max(round(right * width), first_column + 1),
        )
        pixels[first_row:last_row, first_column:last_column] = True
    else:
        pixels = _letters(mask.text, height, width)
    return pixels


def _window(share: float, height: int, width: int, place: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a window of the image's proportions at a place, two numbers in [0, 1)."""
    rows, columns = max(1, round(sqrt(share) * height)), max(1, round(sqrt(share) * width))
    top, left = int(place[0] * (height - rows + 1)), int(place[1] * (width - columns + 1))
    pixels = np.zeros((height, width), dtype=bool)
    pixels[top : top + rows, left : left + columns] = True
    return pixels


@lru_cache(maxsize=16)
def _letters(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels of a line of text in Pillow's own font, centred at the bottom, as large as fits."""
    size = max(_SMALLEST_FONT, round(_TALLEST * height))
    while size > _SMALLEST_FONT and ImageFont.load_default(size).getlength(text) > _WIDEST * width:
        size -= 1
    picture = Image.new("L", (width, height), 0)
    margin = max(1, height // 50)
    ImageDraw.Draw(picture).text(
        (width / 2, height - margin), text, fill=255, font=ImageFont.load_default(size), anchor="md"
    )
    pixels = np.asarray(picture) > 0
    if not pixels.any():
        raise UserError(
            f"mask 'text@{text}' covers no pixel of an image with {height}×{width} pixels",
            hint="write words with visible letters",
        )
    return pixels


def _read(path: str) -> NDArray[np.bool_]:
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise UserError(
            f"mask '{path}' cannot be read: {error.strerror}",
            hint="give the path of an image file, white inside",
        ) from error
    return _read_once(path, changed)


@lru_cache(maxsize=16)
def _read_once(path: str, changed: int) -> NDArray[np.bool_]:
    del changed
    try:
        with opened_image(read_file(Path(path))) as picture:
            pixels = np.asarray(picture.convert("L")) > 127
    except (OSError, UnreadableImageError) as error:
        raise UserError(
            f"mask '{path}' cannot be read: {first_line(error)}", hint="give an image file, white inside"
        ) from error
    if not pixels.any():
        raise UserError(f"mask '{path}' has no white pixel", hint="paint the part that may change white")
    return pixels
