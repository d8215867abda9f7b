"""The images of a training: chosen once, decoded once into a memory-mapped file of uint8 levels."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.data.decoding import UnreadableImageError, decode
from robustbench_aigen.data.samples import REAL_POOL, ImageSource, Sample, read_encoded
from robustbench_aigen.data.selection import Selection, select
from robustbench_aigen.data.splitting import divide
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.store import writing
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.numerics.eight_bit import to_levels

_HELD_OUT = "val"


@dataclass(frozen=True)
class Splits:
    """Indices into a source's samples: what is trained on, what decides, and what neither has seen."""

    source: ImageSource
    train: list[int]
    val: list[int]
    test: list[int]

    def of(self, generators: Sequence[str] | None) -> "Splits":
        """Return the training and validation images of some generators' fakes and the reals they belong to.

        The test images stay: what a detector makes of other generators is to be seen.
        """
        if generators is None:
            return self
        kept = {*generators}
        samples = self.source.samples

        def own(indices: list[int]) -> list[int]:
            return [
                index
                for index in indices
                if samples[index].generator in (kept if samples[index].label else {*kept, REAL_POOL})
            ]

        return Splits(self.source, own(self.train), own(self.val), self.test)

    @property
    def generators(self) -> list[str]:
        """The generators of the training images' fakes, sorted."""
        samples = self.source.samples
        return sorted({samples[index].generator for index in self.train if samples[index].label})


def split_source(source: ImageSource, held_out: float, limit: int | None) -> Splits:
    """Choose training, validation and test images.

    Parameters
    ----------
    source
        Any data source. One without splits gets 80/10/10.
    held_out
        Share of the training split that becomes validation where the source has no validation split of its own:
        stratified, near-duplicates together. The test split is never used for it.
    limit
        At most so many images of each split.

    Raises
    ------
    UserError
        If there is no training split, or one class is missing from what is trained on.
    """
    names = {sample.split for sample in source.samples}
    train = select(source, "train", limit).indices
    if names <= {None} or _HELD_OUT in names:
        val = select(source, _HELD_OUT, limit).indices
    else:
        parts = divide(source, train, {"train": 1 - held_out, _HELD_OUT: held_out})
        train, val = ([i for i in train if parts[i] == name] for name in ("train", _HELD_OUT))
    test = select(source, "test", limit).indices if names <= {None} or "test" in names else []
    splits = Splits(source, train, val, test)
    require_both_classes(splits)
    return splits


def require_both_classes(splits: Splits) -> None:
    """Raise UserError where a class is missing from the training or validation images."""
    for name, indices in (("training", splits.train), ("validation", splits.val)):
        labels = {splits.source.samples[index].label for index in indices}
        for label, word in ((0, "real"), (1, "AI-generated")):
            if label not in labels:
                raise UserError(
                    f"{splits.source.name} has no {word} images in what is used for {name}",
                    hint="use more images, or a source with both classes in its training split",
                )


def check_generators(splits: Splits, names: Sequence[str]) -> None:
    """Raise UserError for a generator that the training images do not have."""
    for name in names:
        if name not in splits.generators:
            raise UserError(
                f"no training images of generator '{name}' in {splits.source.name}",
                hint=did_you_mean(name, splits.generators),
            )


class LevelStore:
    """Decoded images of a source at one size, N×3×H×W uint8 in a memory map, found by the source's indices.

    Parameters
    ----------
    folder
        Where the map is kept under a hash of what is in it, for the next training on the same images.
    source, indices
        Which images.
    size
        Height and width. Other images are resized as a detector does it: bilinear, antialiased.
    progress
        Is told of images that cannot be read; those are left out.

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
    ) -> None:
        self._indices = sorted(indices)
        self.fingerprint = _fingerprint(source, self._indices)
        stem = sha256(f"{self.fingerprint} {size}".encode()).hexdigest()[:32]
        file, said = folder / f"{stem}.npy", folder / f"{stem}.json"
        if not (file.is_file() and said.is_file()):
            with writing():
                folder.mkdir(parents=True, exist_ok=True)
                unreadable = self._decode_all(file, source, size, progress)
                # The problems first: the map is whole where both are there.
                _replace(said, json.dumps(unreadable).encode())
        unreadable = json.loads(said.read_text(encoding="utf-8"))
        for sample, reason in unreadable.values():
            progress.notice(f"{sample} is left out: {reason}")
        self._rows = {i: row for row, i in enumerate(self._indices) if str(row) not in unreadable}
        self._levels: NDArray[np.uint8] = np.load(file, mmap_mode="r")

    def _decode_all(
        self, file: Path, source: ImageSource, size: tuple[int, int], progress: Progress
    ) -> dict[str, tuple[str, str]]:
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        unreadable: dict[str, tuple[str, str]] = {}
        progress.start(len(self._indices))
        progress.work_on("images", "decoding")
        _remove_leftovers(file)
        levels = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(len(self._indices), 3, *size)
        )
        try:
            for row, index in enumerate(self._indices):
                try:
                    levels[row] = _at_size(decode(read_encoded(source, index)), size).numpy()
                except UnreadableImageError as error:
                    unreadable[str(row)] = (source.samples[index].id, str(error))
                progress.advance(1)
            levels.flush()
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return unreadable

    def readable(self, indices: Sequence[int]) -> list[int]:
        """Return those of the indices whose images could be read."""
        return [index for index in indices if index in self._rows]

    def rows(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of readable images."""
        return np.array([self._rows[index] for index in indices], dtype=np.int64)

    def levels(self, rows: NDArray[np.int64]) -> Tensor:
        """Return images by their rows, N×3×H×W uint8."""
        return torch.from_numpy(self._levels[rows])


def _remove_leftovers(file: Path) -> None:
    """Remove what killed trainings left of the same map: nobody has written to it for an hour."""
    for left in file.parent.glob(f".{file.name}.*"):
        if time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(file)


def _fingerprint(source: ImageSource, indices: Sequence[int]) -> str:
    digest = sha256()
    for index in indices:
        sample: Sample = source.samples[index]
        content = sha256(read_encoded(source, index)).hexdigest()
        digest.update(f"{sample.id}\0{sample.label}\0{sample.generator}\0{content}\n".encode())
    return digest.hexdigest()


def _at_size(levels: Tensor, size: tuple[int, int]) -> Tensor:
    if levels.shape[-2:] == size:
        return levels
    pixels = levels[None].float() / 255
    resized = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return to_levels(resized)[0]


def selection_of(source: ImageSource, indices: Sequence[int], split: str) -> Selection:
    """Return some indices as a selection, for the engine's shards."""
    return Selection(source, sorted(indices), split)
