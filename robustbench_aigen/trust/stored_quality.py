"""The JPEG quality that images are stored at, and pipelines that end in the same one."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from robustbench_aigen.scenario.cells import BoundPipeline

_MOST = 0.5


class StoredQuality(NamedTuple):
    """The commonest quality factor of a sample of images: how many of ``images`` have it."""

    quality: int
    having: int
    images: int


def jpeg_quality(encoded: bytes) -> int | None:
    """Return the libjpeg quality factor of an encoded image.

    libjpeg scales the tables of the standard (ITU-T T.81, Annex K) by the quality, so each quality has tables of its
    own. None for anything but a JPEG, and for a JPEG with tables of another encoder.
    """
    try:
        with Image.open(BytesIO(encoded)) as image:
            tables = getattr(image, "quantization", None) if image.format == "JPEG" else None
    except Exception:  # noqa: BLE001  An unreadable image is named when it is decoded.
        return None
    return _qualities().get(_key(tables)) if tables else None


def stored_quality(images: Iterable[bytes]) -> StoredQuality | None:
    """Return the quality that most of some encoded images are stored at; None where no quality has a majority."""
    qualities = [jpeg_quality(encoded) for encoded in images]
    counts = Counter(quality for quality in qualities if quality is not None)
    if not counts:
        return None
    quality, having = counts.most_common(1)[0]
    return StoredQuality(quality, having, len(qualities)) if having > _MOST * len(qualities) else None


def ends_at_quality(pipeline: BoundPipeline, quality: int) -> bool:
    """Whether a pipeline's last stage is a JPEG of that quality."""
    last = pipeline.stages[-1].as_dict() if pipeline.stages else {}
    return last.get("perturb") == "jpeg" and last.get("quality") == quality


def _key(tables: dict[int, list[int]]) -> tuple[int, ...]:
    """Luminance alone: a grey image has no other table, and some encoders use one for all channels."""
    return tuple(tables[min(tables)])


@cache
def _qualities() -> dict[tuple[int, ...], int]:
    """Map luminance tables to qualities, as this machine's own encoder writes them."""
    found: dict[tuple[int, ...], int] = {}
    for quality in range(1, 101):
        buffer = BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            found[_key(getattr(image, "quantization"))] = quality  # noqa: B009  Of JPEG images alone.
    return found
