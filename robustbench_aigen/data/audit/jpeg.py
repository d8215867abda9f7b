"""JPEG compression settings read from the header."""

from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image

_SUBSAMPLING = {-1: "other", 0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


class Quality(NamedTuple):
    """A libjpeg quality factor; ``is_exact`` where the tables are libjpeg's own, else it is the nearest."""

    factor: int
    is_exact: bool


def read_quality(image: Image.Image) -> Quality | None:
    """Return the quality of an opened image; None for anything but a JPEG.

    libjpeg scales the tables of the standard (ITU-T T.81, Annex K) by the quality, so each quality has tables of its
    own. Tables of another encoder have the quality whose luminance table is nearest in the mean of its logarithms.
    """
    tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", None) or {}
    if image.format not in ("JPEG", "MPO") or not tables:
        return None
    # Luminance alone: a grey image has no other table, and some encoders use one for all channels.
    luminance = tuple(tables[min(tables)])
    exact = _qualities().get(luminance)
    if exact is not None:
        return Quality(exact, is_exact=True)
    distance = np.abs(_log_means() - np.log(np.maximum(luminance, 1)).mean())
    # Low qualities share tables at the largest step: the last one is the highest.
    return Quality(100 - int(distance[::-1].argmin()), is_exact=False)


def jpeg_quality(encoded: bytes) -> int | None:
    """Return the libjpeg quality factor of an encoded image, None for anything but a JPEG with libjpeg's tables."""
    try:
        with opened_image(encoded) as image:
            quality = read_quality(image)
    except UnreadableImageError:
        # It is named when it is decoded.
        return None
    return quality.factor if quality is not None and quality.is_exact else None


def read_subsampling(image: Image.Image) -> str | None:
    """Return the chroma subsampling of an opened JPEG (``4:2:0``), ``grey`` for one channel; None for no JPEG."""
    if image.format not in ("JPEG", "MPO"):
        return None
    if len(getattr(image, "layer", ())) == 1:
        return "grey"
    return _SUBSAMPLING[JpegImagePlugin.get_sampling(image)]


@cache
def _qualities() -> dict[tuple[int, ...], int]:
    """Map luminance tables to qualities, as this machine's own encoder writes them."""
    return {table: quality for quality, table in enumerate(_tables(), start=1)}


@cache
def _log_means() -> NDArray[np.float64]:
    return np.log(np.array(_tables())).mean(axis=1)


@cache
def _tables() -> list[tuple[int, ...]]:
    """The luminance tables of the qualities 1 to 100."""
    found = []
    for quality in range(1, 101):
        buffer = BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            tables: dict[int, list[int]] = getattr(image, "quantization")  # noqa: B009  Of JPEG images alone.
            found.append(tuple(tables[min(tables)]))
    return found
