"""File properties of an image: facts that do not depend on the picture."""

from typing import NamedTuple

from PIL import Image

from robustbench_aigen.data.audit.jpeg import read_quality, read_subsampling
from robustbench_aigen.data.audit.metadata import Metadata, lies_on_its_side, read_metadata
from robustbench_aigen.numerics.decoding import opened_image


class ImageFacts(NamedTuple):
    """File properties of one image. The size in bytes is left out, because the size depends on the picture.

    ``mode`` is Pillow's name of the stored channels; ``quality`` and ``subsampling`` are None for anything but a
    JPEG; ``encoder`` is ``libjpeg`` where the quantisation tables are its own, ``other`` where they are not.
    ``width`` and ``height`` are in pixels, turned upright as EXIF says.
    """

    format: str
    mode: str
    progressive: bool
    quality: int | None
    encoder: str | None
    subsampling: str | None
    width: int
    height: int
    metadata: Metadata


def read_facts(image: Image.Image, encoded: bytes) -> ImageFacts:
    """Read the facts of an opened image from its header, before its pixels are decoded."""
    quality = read_quality(image)
    width, height = image.size[::-1] if lies_on_its_side(image) else image.size
    return ImageFacts(
        format=image.format or "?",
        mode=image.mode,
        progressive=bool(image.info.get("progressive")),
        quality=None if quality is None else quality.factor,
        encoder=None if quality is None else "libjpeg" if quality.is_exact else "other",
        subsampling=read_subsampling(image),
        width=width,
        height=height,
        metadata=read_metadata(image, encoded),
    )


def facts_of(encoded: bytes) -> ImageFacts:
    """Read the facts of an encoded image from its header.

    Raises
    ------
    UnreadableImageError
        If it has none.
    """
    with opened_image(encoded) as image:
        return read_facts(image, encoded)
