"""Splits for sources that have none: 80/10/10, stratified, near-duplicates kept together."""

import io
from collections import defaultdict
from hashlib import blake2b

import numpy as np
from PIL import Image

from robustbench_aigen.data.samples import ImageSource, Sample, read_encoded

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
_SEED = 42


def order_key(text: str) -> bytes:
    """A key that puts ids in a fixed order that has nothing to do with their names."""
    return blake2b(f"{_SEED}\0{text}".encode(), digest_size=16).digest()


def difference_hash(encoded: bytes) -> bytes:
    """Return the 64-bit difference hash of an image (Krawetz 2013), or a hash of its bytes if it is unreadable.

    Two copies of a picture that differ in size, quality or a little brightness share it.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.draft("L", (64, 64))
            grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    except Exception:  # noqa: BLE001  An unreadable image is named when it is decoded; here it needs a group.
        return blake2b(encoded, digest_size=16).digest()
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes()


def assign_splits(source: ImageSource) -> list[Sample]:
    """Return a source's samples with a split each.

    Samples with the same difference hash share a split. Groups are taken in a fixed pseudo-random order (seed
    42) and each goes to the split that lacks most, counted in its own generator and label.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index in range(len(source.samples)):
        groups[difference_hash(read_encoded(source, index))].append(index)
    totals: dict[tuple[str, int], int] = defaultdict(int)
    for sample in source.samples:
        totals[sample.generator, sample.label] += 1
    placed: dict[tuple[str, int, str], int] = defaultdict(int)
    splits: dict[int, str] = {}
    for members in sorted(groups.values(), key=lambda rows: order_key(source.samples[rows[0]].id)):
        first = source.samples[members[0]]
        stratum = (first.generator, first.label)
        split = max(SHARES, key=lambda name: SHARES[name] * totals[stratum] - placed[(*stratum, name)])
        for index in members:
            sample = source.samples[index]
            placed[sample.generator, sample.label, split] += 1
            splits[index] = split
    return [sample._replace(split=splits[index]) for index, sample in enumerate(source.samples)]
