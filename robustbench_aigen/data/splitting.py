"""Splits for sources that have none: 80/10/10, stratified, near-duplicates kept together."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from robustbench_aigen.data.near_duplicates import duplicate_groups, fingerprint
from robustbench_aigen.data.samples import ImageSource, Sample, read_encoded
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.numerics.parallel_map import in_threads

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
_SEED = 42


def read_shares(text: str) -> dict[str, float]:
    """Read ``80/10/10``: the shares of train, val and test, per cent or fractions.

    Raises
    ------
    UserError
        If it is not three numbers that add up to 100 or to 1, the first above 0.
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    total = sum(numbers)
    whole = 100 if total > 1.5 else 1
    if len(numbers) != 3 or min(numbers) < 0 or not numbers[0] or not math.isclose(total, whole):
        raise UserError(
            f"splits '{shortened(text)}' are not three shares of train, val and test with the sum 100",
            hint="such as 80/10/10",
        )
    return dict(zip(SHARES, (number / whole for number in numbers), strict=True))


def order_key(text: str, seed: int = _SEED) -> bytes:
    """A key that puts ids in a fixed order that has nothing to do with their names."""
    return blake2b(f"{seed}\0{text}".encode(), digest_size=16).digest()


def assign_splits(source: ImageSource, indices: Sequence[int]) -> list[Sample]:
    """Return a source's samples, those of some indices with a split each: 80/10/10, the others as they are."""
    splits = divide(source, indices, SHARES)
    return [
        sample._replace(split=splits[index]) if index in splits else sample
        for index, sample in enumerate(source.samples)
    ]


def divide(source: ImageSource, indices: Sequence[int], shares: Mapping[str, float]) -> dict[int, str]:
    """Divide some samples of a source among parts of the given shares, and return the part of each index.

    Copies of a picture (:mod:`robustbench_aigen.data.near_duplicates`) are in one part; otherwise as
    :func:`place_groups` does it.
    """
    looks = list(in_threads(fingerprint, (read_encoded(source, index) for index in indices)))
    groups = duplicate_groups(looks)
    grouped = {place for group in groups for place in group}
    groups += [[place] for place in range(len(indices)) if place not in grouped]
    parts = place_groups([source.samples[index] for index in indices], groups, shares)
    return {index: parts[place] for place, index in enumerate(indices)}


def place_groups(
    samples: Sequence[Sample],
    groups: Iterable[Sequence[int]],
    shares: Mapping[str, float],
    seed: int = _SEED,
) -> dict[int, str]:
    """Give every group of samples a split.

    Groups are taken in a fixed pseudo-random order and each goes to the split that lacks most, counted in the
    generator and label of its first member.

    Parameters
    ----------
    samples
        The samples that the indices in the groups refer to.
    groups
        Samples that stay together; each sample is in one.
    shares
        The fraction of each split; one of 0 gets nothing.
    seed
        Seed of the order.

    Returns
    -------
    dict
        The split of each index.
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    totals: dict[tuple[str, int], int] = defaultdict(int)
    for sample in samples:
        totals[sample.generator, sample.label] += 1
    placed: dict[tuple[str, int, str], int] = defaultdict(int)
    splits: dict[int, str] = {}
    for members in sorted(groups, key=lambda rows: order_key(samples[rows[0]].id, seed)):
        first = samples[members[0]]
        stratum = (first.generator, first.label)
        split = max(wanted, key=lambda name: wanted[name] * totals[stratum] - placed[(*stratum, name)])
        for index in members:
            sample = samples[index]
            placed[sample.generator, sample.label, split] += 1
            splits[index] = split
    return splits
