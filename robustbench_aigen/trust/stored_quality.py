"""The JPEG quality that images are stored at, and pipelines that end in the same one."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from robustbench_aigen.data.audit.jpeg import jpeg_quality
from robustbench_aigen.stages.pipeline import Pipeline

_MOST = 0.5


class StoredQuality(NamedTuple):
    """The commonest quality factor of a sample of images: how many of ``images`` have it."""

    quality: int
    having: int
    images: int


def stored_quality(images: Iterable[bytes]) -> StoredQuality | None:
    """Return the quality that most of some encoded images are stored at; None where no quality has a majority."""
    qualities = [jpeg_quality(encoded) for encoded in images]
    counts = Counter(quality for quality in qualities if quality is not None)
    if not counts:
        return None
    quality, having = counts.most_common(1)[0]
    return StoredQuality(quality, having, len(qualities)) if having > _MOST * len(qualities) else None


def ends_at_quality(pipeline: Pipeline, quality: int) -> bool:
    """Whether a pipeline's last stage is a JPEG of that quality."""
    last = pipeline.stages[-1].to_dict() if pipeline.stages else {}
    return last.get("perturb") == "jpeg" and last.get("quality") == quality
