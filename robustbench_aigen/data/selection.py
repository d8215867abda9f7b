"""Selection of the samples of a source: split and limit."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from robustbench_aigen.data.joined import JoinedSource
from robustbench_aigen.data.samples import ImageSource, Sample
from robustbench_aigen.data.splitting import SHARES, assign_splits, order_key
from robustbench_aigen.errors import UserError

ALL = "all"
_DIVIDED: WeakKeyDictionary[ImageSource, list[Sample]] = WeakKeyDictionary()
"""The samples of sources without splits, with those that they were given."""

Stratum = tuple[str, int]
"""A generator and a label."""


class Selection(NamedTuple):
    """Some samples of a source: ``indices`` into ``source.samples``, in its order."""

    source: ImageSource
    indices: list[int]
    split: str

    @property
    def samples(self) -> list[Sample]:
        """The chosen samples."""
        return [self.source.samples[index] for index in self.indices]


def select(source: ImageSource, split: str, limit: int | None) -> Selection:
    """Choose a split of a source, and of that at most ``limit`` samples.

    The limit is stratified by generator and label (largest remainders) and takes the same images on every
    machine and for every seed, so that runs can be compared image by image.

    Raises
    ------
    UserError
        If the source has no such split.
    """
    samples = source.samples
    if any(sample.generator == ALL for sample in samples):
        # The summary's rows on all generators have that name.
        raise UserError(f"{source.name} has a generator called '{ALL}'", hint="rename it")
    undivided = _undivided(source) if split != ALL else []
    if undivided:
        # Copies are looked for among all images, which takes as long as decoding them: once for a source.
        if source not in _DIVIDED:
            _DIVIDED[source] = assign_splits(source, undivided)
        samples = _DIVIDED[source]
    present = sorted({sample.split for sample in samples if sample.split is not None})
    if split != ALL and split not in present:
        if split in SHARES and len(undivided) == len(samples):
            raise UserError(
                f"{source.name} has no splits of its own, and too few images ({len(samples)}) for a '{split}' split",
                hint="the split would get a tenth of the images; use split: all for all images",
            )
        raise UserError(
            f"{source.name} has no split '{split}'", hint=f"known splits: {', '.join([*present, ALL])}"
        )
    indices = [index for index, sample in enumerate(samples) if split in (ALL, sample.split)]
    if limit is not None and limit < len(indices):
        indices = stratified(samples, indices, limit)
    return Selection(source, indices, split)


def divided(source: ImageSource) -> list[Sample]:
    """Return the samples of a source with their splits: its own, or those that a selection has given it."""
    return _DIVIDED.get(source, source.samples)


def in_turns(samples: Iterable[Sample], count: int) -> dict[int, list[str]]:
    """Return the ids of up to ``count`` samples of each class, in a fixed order in which its generators take turns.

    The order has nothing to do with the names, nor with the order of the samples.
    """
    strata: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        strata[sample.label][sample.generator].append(sample.id)
    chosen: dict[int, list[str]] = {}
    for label, generators in sorted(strata.items()):
        ordered = [sorted(ids, key=order_key)[:count] for _, ids in sorted(generators.items())]
        most = min(count, max(map(len, ordered)))
        turns = [ids[turn] for turn in range(most) for ids in ordered if turn < len(ids)]
        chosen[label] = turns[:count]
    return chosen


def _undivided(source: ImageSource) -> list[int]:
    """Return the samples of the sources, one or several joined, that have no splits at all."""
    parts = source.parts if isinstance(source, JoinedSource) else [range(len(source.samples))]
    whole = [part for part in parts if all(source.samples[index].split is None for index in part)]
    return [index for part in whole for index in part]


def stratified(samples: Sequence[Sample], indices: Sequence[int], limit: int) -> list[int]:
    """Return ``limit`` of some indices, in their order: each generator and label its share, in a fixed order of ids."""
    strata = _strata(samples, indices)
    counts = _shares({key: len(rows) for key, rows in strata.items()}, limit)
    chosen = [
        index
        for key, rows in strata.items()
        for index in sorted(rows, key=lambda row: order_key(samples[row].id))[: counts[key]]
    ]
    return sorted(chosen)


def nested_limit(samples: Sequence[Sample], indices: Sequence[int], limit: int) -> int:
    """Return the largest number, at most ``limit``, whose :func:`stratified` sample is part of every larger one.

    Largest remainders are not monotone: with one image more, a stratum can lose its place to another (the Alabama
    paradox). Such numbers are passed over; there are few of them.
    """
    if limit >= len(indices):
        return len(indices)
    sizes = {key: len(rows) for key, rows in _strata(samples, indices).items()}
    return next((number for number in range(limit, 1, -1) if _is_nested(sizes, number)), 1)


def _is_nested(sizes: Mapping[Stratum, int], number: int) -> bool:
    """Whether a sample of a number of images is part of every larger one."""
    counts, total = _shares(sizes, number), sum(sizes.values())
    # A stratum gets its share rounded down or up: none has less in a sample where its share is at least this large.
    rounded_up = {key: count for key, count in counts.items() if count * total > number * sizes[key]}
    enough = max((-(-count * total // sizes[key]) for key, count in rounded_up.items()), default=0)
    for other in range(number + 1, min(total, enough)):
        shares = _shares(sizes, other)
        if any(shares[key] < count for key, count in rounded_up.items()):
            return False
    return True


def _strata(samples: Sequence[Sample], indices: Sequence[int]) -> dict[Stratum, list[int]]:
    strata: dict[Stratum, list[int]] = defaultdict(list)
    for index in indices:
        strata[samples[index].generator, samples[index].label].append(index)
    return strata


def _shares(sizes: Mapping[Stratum, int], limit: int) -> dict[Stratum, int]:
    """Return the number of images that a sample takes from each stratum, by largest remainders."""
    total = sum(sizes.values())
    shares = {key: limit * size / total for key, size in sizes.items()}
    counts = {key: int(share) for key, share in shares.items()}
    by_remainder = sorted(sizes, key=lambda key: (counts[key] - shares[key], key))
    for key in by_remainder[: limit - sum(counts.values())]:
        counts[key] += 1
    return counts
