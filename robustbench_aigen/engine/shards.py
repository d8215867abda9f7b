"""Shards: fixed slices of the sample list, hashed first and decoded when needed."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from robustbench_aigen.data.joined import JoinedSource
from robustbench_aigen.data.samples import Sample, read_encoded
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.engine.ssim_sample import SMALL_IMAGES, SsimSample
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import warning
from robustbench_aigen.numerics.decoding import MISSING, Unread, UnreadableImageError, decode
from robustbench_aigen.numerics.parallel_map import in_threads

SHARD_SIZE = 256
NOT_HASHED = ""
_UNREAD = "unread: "
"""Before the reason why an image cannot be read, where its hash would be."""


def content_digest(encoded: bytes) -> str:
    """Return the sha256 of an encoded image, or the reason if the image is unreadable."""
    if not encoded:
        return f"{_UNREAD}{encoded.reason if isinstance(encoded, Unread) else MISSING}"
    return sha256(encoded).hexdigest()


@dataclass(frozen=True, eq=False)
class Shard:
    """A slice of the sample list, with the hash of every source image.

    ``hashes`` are those of :func:`content_digest`, or :data:`NOT_HASHED` if no file is named after them. ``kept`` are
    the ids of the samples whose attacked images go into the run's gallery, ``whole`` is true if large images are kept
    whole, ``ssim`` are the images on which SSIM is measured.
    """

    selection: Selection
    indices: tuple[int, ...]
    hashes: tuple[str, ...]
    kept: frozenset[str] = frozenset()
    ssim: SsimSample = SMALL_IMAGES
    whole: bool = False

    @property
    def samples(self) -> list[Sample]:
        """The samples of the slice."""
        return [self.selection.source.samples[index] for index in self.indices]

    def encoded(self, place: int) -> bytes:
        """Return the encoded image of a sample by its place in the slice: the hashed bytes.

        Raises
        ------
        UserError
            If the image has changed since: its records would be stored under the hash of another image.
        """
        encoded = read_encoded(self.selection.source, self.indices[place])
        if self.hashes[place] not in (NOT_HASHED, content_digest(encoded)):
            name = self.selection.source.samples[self.indices[place]].id
            what = (
                f"can no longer be read ({encoded.reason})" if isinstance(encoded, Unread) else "has changed"
            )
            raise UserError(
                f"{name} {what} since the run began; no result of this image was stored",
                hint="run again after other programs have stopped writing to the images",
            )
        return encoded

    def identity(self) -> list[list[object]]:
        """The data that determine the records: id, label, generator and content of every image."""
        return [
            [s.id, s.label, s.generator, digest] for s, digest in zip(self.samples, self.hashes, strict=True)
        ]


class Problem(NamedTuple):
    """An image that could not be read, and why."""

    sample: str
    reason: str


class ShardImages(NamedTuple):
    """A decoded shard: the readable samples, their uint8 3×H×W images (sizes may differ) and hashes."""

    samples: list[Sample]
    levels: list[Tensor]
    hashes: list[str]
    problems: list[Problem]
    kept: frozenset[str] = frozenset()
    ssim: SsimSample = SMALL_IMAGES
    whole: bool = False

    @property
    def bytes(self) -> int:
        """Memory of the images."""
        return sum(image.numel() for image in self.levels)


def make_shards(
    selection: Selection,
    kept: frozenset[str] = frozenset(),
    ssim: SsimSample = SMALL_IMAGES,
    *,
    whole: bool = False,
) -> Iterator[Shard]:
    """Cut a selection into shards, reading and hashing every source image once.

    ``kept`` are the ids of the samples whose attacked images are kept, ``ssim`` the images on which SSIM is measured;
    ``whole`` is true if large images are kept whole.
    """
    encoded = (read_encoded(selection.source, index) for index in selection.indices)
    digests = in_threads(content_digest, encoded)
    for first in range(0, len(selection.indices), SHARD_SIZE):
        indices = tuple(selection.indices[first : first + SHARD_SIZE])
        names = [selection.source.samples[index].id for index in indices]
        yield Shard(
            selection,
            indices,
            tuple(islice(digests, len(indices))),
            kept.intersection(names),
            ssim.of(names),
            whole,
        )


def decode_shard(shard: Shard) -> ShardImages:
    """Read and decode a shard; images that cannot be read are left out and named.

    Raises
    ------
    UserError
        If an image is no longer the one that was hashed.
    """
    images = ShardImages([], [], [], [], shard.kept, shard.ssim, shard.whole)
    encoded = (shard.encoded(place) for place in range(len(shard.indices)))
    decoded = in_threads(_decoded, encoded, chunk=max(1, min(16, len(shard.indices) // 16)))
    for sample, digest, levels in zip(shard.samples, shard.hashes, decoded, strict=True):
        if isinstance(levels, UnreadableImageError):
            images.problems.append(Problem(sample.id, str(levels)))
            continue
        images.samples.append(sample)
        images.levels.append(levels)
        images.hashes.append(digest)
    return images


def _decoded(encoded: bytes) -> Tensor | UnreadableImageError:
    try:
        return decode(encoded)
    except UnreadableImageError as error:
        return error


def repeated(shards: list[Shard]) -> list[str]:
    """Return notices on images in several sources, and on images with both labels."""
    by_digest: dict[str, list[tuple[int, Sample]]] = defaultdict(list)
    for shard in shards:
        for index, sample, digest in zip(shard.indices, shard.samples, shard.hashes, strict=True):
            # What cannot be opened is named when it is decoded.
            if not digest.startswith(_UNREAD):
                by_digest[digest].append((index, sample))
    several = [rows for rows in by_digest.values() if len(rows) > 1]
    both = [rows for rows in several if len({sample.label for _, sample in rows}) > 1]
    source = shards[0].selection.source if shards else None
    across = [
        rows
        for rows in several
        if isinstance(source, JoinedSource) and len({source.source_of(index) for index, _ in rows}) > 1
    ]
    notices: list[str] = []
    for rows, what in ((across, "in more than one source"), (both, "labelled both real and fake")):
        if rows:
            example = " and ".join(sample.id for _, sample in rows[0][:2])
            verb = "image is" if len(rows) == 1 else "images are"
            notices.append(warning(f"{len(rows)} {verb} {what}: {example}{' …' if len(rows) > 1 else ''}"))
    return notices
