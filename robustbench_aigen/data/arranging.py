"""Finished images moved to their split and class: copies, and pieces of one image, stay together."""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.csv_text import guarded_row
from robustbench_aigen.data.groups import linked_groups
from robustbench_aigen.data.near_duplicates import Fingerprint, duplicate_groups
from robustbench_aigen.data.placing import Placing
from robustbench_aigen.data.samples import CLASS_NAMES, Sample
from robustbench_aigen.data.splitting import SHARES, place_groups

PREPARED = "prepared.csv"
"""File with the origin of every prepared image; its folders give class, split and generator."""


class Piece(NamedTuple):
    """One output image: its temporary file, its class, split and generator, and its fingerprint."""

    file: Path
    sample: Sample
    source: str
    stem: str
    look: Fingerprint


def arrange(
    pieces: list[Piece], folder: Path, shares: Mapping[str, float] | None, seed: int
) -> Counter[tuple[str, str, str]]:
    """Move pieces to ``folder/<split>/[<generator>/]{real,fake}/`` and list them in ``prepared.csv``.

    Parameters
    ----------
    pieces
        The pieces to move.
    folder
        Folder of the copy, on the same file system.
    shares
        The fractions of the splits; None keeps those that the pieces have and otherwise takes 80/10/10.
    seed
        Seed of the splits.

    Returns
    -------
    Counter
        The number of images of each (split, class, generator).
    """
    samples = [piece.sample for piece in pieces]
    if shares is None and all(sample.split is not None for sample in samples):
        splits = {index: str(sample.split) for index, sample in enumerate(samples)}
    else:
        splits = place_groups(samples, _groups(pieces), shares or SHARES, seed)
    counts: Counter[tuple[str, str, str]] = Counter()
    placing = Placing()
    with (folder / PREPARED).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "source", "split", "generator", "label"])
        for index, (piece, sample) in enumerate(zip(pieces, samples, strict=True)):
            target = placing.file(sample._replace(split=splits[index]), piece.stem, piece.file.suffix)
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            piece.file.rename(folder / target)
            row = [target.as_posix(), piece.source, splits[index], sample.generator, sample.label]
            table.writerow(guarded_row(row))
            counts[splits[index], CLASS_NAMES[sample.label], sample.generator] += 1
    return counts


def _groups(pieces: list[Piece]) -> list[list[int]]:
    """Join pieces of one image, and pieces that look alike, directly or through others."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for index, piece in enumerate(pieces):
        by_source[piece.source].append(index)
    alike = [*by_source.values(), *duplicate_groups([piece.look for piece in pieces])]
    return linked_groups(len(pieces), (link for group in alike for link in pairwise(group)))
