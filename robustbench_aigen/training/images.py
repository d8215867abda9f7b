"""Images of a training, decoded once into a memory-mapped file of uint8 levels."""

import errno
import json
import math
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.data.samples import ImageSource, read_encoded
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.digests import DamagedFileError, read_sealed, sealed
from robustbench_aigen.engine.identity import decoding_code
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.shards import Shard, content_digest
from robustbench_aigen.files import atomic_file, remove_leftovers, sha256_of_file, writing
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.eight_bit import to_levels


class LevelStore:
    """Decoded images of a source at one size, N×3×H×W uint8 in a memory map, found by the source's indices.

    Parameters
    ----------
    folder
        Folder of the map, whose name is a hash of its content, for the next training on the same images.
    source, indices
        Which images.
    size
        Height and width. Other images are resized as a detector does it: bilinear, antialiased.
    progress
        Receives a line for unreadable images, which are left out.
    seen
        The preprocessing of a detector that crops to that size; images are stored as the network sees them.

    Attributes
    ----------
    fingerprint
        Hash of ids, labels, generators and contents.
    """

    def __init__(
        self,
        folder: Path,
        source: ImageSource,
        indices: Sequence[int],
        size: tuple[int, int],
        progress: Progress,
        seen: Preprocessing | None = None,
    ) -> None:
        self._indices = sorted(indices)
        self.fingerprint, shard = _hashed(source, self._indices)
        identity = [self.fingerprint, str(size), *decoding_code(), *([] if seen is None else [str(seen)])]
        stem = sha256(" ".join(identity).encode()).hexdigest()[:32]
        file, card = folder / f"{stem}.npy", folder / f"{stem}.json"
        with writing("the images of the training"):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            unreadable = _stored(file, card, progress)
            if unreadable is None:
                unreadable = _decode_all(file, shard, size, progress, seen)
                # The card comes last: the map is whole where its card is there and fits.
                content = sealed({"unreadable": unreadable}, {file.name: sha256_of_file(file)})
                with atomic_file(card, own=True) as stream:
                    stream.write(json.dumps(content).encode())
        for sample, reason in unreadable.values():
            progress.notice(f"{sample} is left out: {reason}")
        self._rows = {i: row for row, i in enumerate(self._indices) if str(row) not in unreadable}
        self._levels: NDArray[np.uint8] = np.load(file, mmap_mode="r")

    def readable(self, indices: Sequence[int]) -> list[int]:
        """Return those of the indices whose images could be read."""
        return [index for index in indices if index in self._rows]

    def rows(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of readable images."""
        return np.array([self._rows[index] for index in indices], dtype=np.int64)

    def levels(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images by their rows, N×3×H×W uint8."""
        return torch.from_numpy(self._levels[rows])


def _stored(file: Path, card: Path, progress: Progress) -> dict[str, tuple[str, str]] | None:
    """Return the unreadable images of a stored map, or None if the map is missing or damaged."""
    if not (file.exists() and card.exists()):
        return None
    try:
        content, digests = read_sealed(card)
        digest = sha256_of_file(file)
    except (DamagedFileError, OSError) as error:
        damage = str(error)
    else:
        if digests.get(file.name) == digest:
            unreadable: dict[str, tuple[str, str]] = content["unreadable"]
            return unreadable
        damage = f"{file.name} was changed after it was written"
    progress.notice(f"the stored images in {file.parent} are damaged and decoded again: {damage}")
    return None


def _decode_all(
    file: Path, shard: Shard, size: tuple[int, int], progress: Progress, seen: Preprocessing | None
) -> dict[str, tuple[str, str]]:
    """Write the map of some images; return those that cannot be read, by their rows."""
    unreadable: dict[str, tuple[str, str]] = {}
    progress.start(len(shard.indices))
    progress.work_on("images", "decoding")
    shape = (3, *size)
    with atomic_file(file, own=True) as stream:
        _begin(stream, (len(shard.indices), *shape))
        for row, sample in enumerate(shard.samples):
            levels = np.zeros(shape, dtype=np.uint8)
            try:
                decoded = decode(shard.encoded(row))
                levels = (_at_size(decoded, size) if seen is None else _cropped(decoded, seen)).numpy()
            except UnreadableImageError as error:
                unreadable[str(row)] = (sample.id, str(error))
            stream.write(np.ascontiguousarray(levels).tobytes())
            progress.advance(1)
    return unreadable


def _begin(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of an array of levels, and reserve its disk space before decoding."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    stream.flush()
    if not hasattr(os, "posix_fallocate"):
        return  # Then a full disk shows while the images are written.
    try:
        os.posix_fallocate(stream.fileno(), 0, stream.tell() + math.prod(shape))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _hashed(source: ImageSource, indices: Sequence[int]) -> tuple[str, Shard]:
    """Return a hash of ids, labels, generators and contents, and the images for comparisons of decoded levels."""
    digest, hashes = sha256(), []
    for index in indices:
        sample, encoded = source.samples[index], read_encoded(source, index)
        hashes.append(content_digest(encoded))
        content = hashes[-1] if encoded else sha256(b"").hexdigest()
        digest.update(f"{sample.id}\0{sample.label}\0{sample.generator}\0{content}\n".encode())
    return digest.hexdigest(), Shard(selection_of(source, indices, "train"), tuple(indices), tuple(hashes))


def _at_size(levels: Tensor, size: tuple[int, int]) -> Tensor:
    if levels.shape[-2:] == size:
        return levels
    pixels = levels[None].float() / 255
    resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return to_levels(resized)[0]


def _cropped(levels: Tensor, seen: Preprocessing) -> Tensor:
    return to_levels(seen.fit(levels[None].float() / 255))[0]


def selection_of(source: ImageSource, indices: Sequence[int], split: str) -> Selection:
    """Return some indices as a selection, for the engine's shards."""
    return Selection(source, sorted(indices), split)
