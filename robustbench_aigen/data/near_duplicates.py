"""Near-duplicates: pictures that are copies of each other but for size, quality or a little brightness.

Two pictures are taken for copies where their 64-bit difference hashes (Krawetz 2013) differ in at most four bits and
their 16×16 grey versions correlate by at least 0.98. On photographs of 200 pixels and more, that finds 93 to 100 % of
the copies made by JPEG at quality 50, halving, enlarging by half, or 10 % more brightness (half to nine tenths of
those of 32-pixel images), and no false pair among some thousand other pictures.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustbench_aigen.data.groups import linked_groups
from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image

_MOST_BITS = 4
_LEAST_CORRELATION = 0.98
_FLATTEST = 2.0
"""Standard deviation of the grey levels below which a picture has no fingerprint."""
_CHUNK = 2**20
"""Pairs of hashes compared together."""
_CONFIRMED = 2**14
"""Pairs of pictures compared together."""


class Fingerprint(NamedTuple):
    """Fingerprint of an image.

    ``content`` hashes the file; ``bits`` is the difference hash and ``grey`` the 16×16 picture it is confirmed on
    (256 bytes), both None for what cannot be read and for pictures of one colour, whose hash would say nothing.
    """

    content: bytes
    bits: int | None
    grey: bytes | None


def content_hash(encoded: bytes) -> bytes:
    """Return a hash of a file: equal for exact duplicates alone."""
    return blake2b(encoded, digest_size=16).digest()


def fingerprint(encoded: bytes) -> Fingerprint:
    """Return the fingerprint of an encoded image."""
    try:
        with opened_image(encoded) as image:
            return fingerprint_opened(image, encoded)
    except UnreadableImageError:
        # It is named when it is decoded.
        return Fingerprint(content_hash(encoded), None, None)


def fingerprint_opened(image: Image.Image, encoded: bytes) -> Fingerprint:
    """Return the fingerprint of an image that is opened and not yet decoded; raises what decoding raises."""
    image.draft("L", (64, 64))  # A JPEG is decoded no larger than that: eight times as fast.
    grey = image.convert("L")
    picture = np.asarray(grey.resize((16, 16), Image.Resampling.BOX))
    if picture.std() < _FLATTEST:
        return Fingerprint(content_hash(encoded), None, None)
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
    bits = int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")
    return Fingerprint(content_hash(encoded), bits, picture.tobytes())


def duplicate_groups(fingerprints: Sequence[Fingerprint]) -> list[list[int]]:
    """Group images that are copies of one another, directly or through a third.

    Returns
    -------
    list
        Groups of two or more positions in ``fingerprints``, each ascending, ordered by their first.
    """
    groups = linked_groups(len(fingerprints), _copies(fingerprints))
    return [group for group in groups if len(group) > 1]


def _copies(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Yield pairs of exact duplicates, each with the first of its kind, then pairs of near ones among the first."""
    first: dict[bytes, int] = {}
    for position, print_ in enumerate(fingerprints):
        if first.setdefault(print_.content, position) != position:
            yield first[print_.content], position
    rows = [position for position in first.values() if fingerprints[position].bits is not None]
    if not rows:
        return
    bits = np.array([fingerprints[row].bits for row in rows], dtype=np.uint64)
    greys = np.stack([_normalised(fingerprints[row].grey or b"") for row in rows])
    leaders = []
    for bucket in _buckets(bits):
        # Of those with one hash each is compared with the first that is like it: there may be very many.
        rest = bucket
        while len(rest):
            alike = greys[rest] @ greys[rest[0]] >= _LEAST_CORRELATION
            alike[0] = True  # Rounding aside.
            leaders.append(rest[0])
            yield from ((rows[rest[0]], rows[other]) for other in rest[alike][1:])
            rest = rest[~alike]
    kept = np.array(leaders)
    for ones, others in _candidates(bits[kept]):
        for some in np.array_split(np.arange(len(ones)), len(ones) // _CONFIRMED + 1):
            one, other = kept[ones[some]], kept[others[some]]
            alike = np.einsum("nd,nd->n", greys[one], greys[other]) >= _LEAST_CORRELATION
            yield from ((rows[i], rows[j]) for i, j in zip(one[alike], other[alike], strict=True))


def _normalised(grey: bytes) -> NDArray[np.float32]:
    levels = np.frombuffer(grey, dtype=np.uint8).astype(np.float32)
    levels -= levels.mean()
    return levels / np.linalg.norm(levels)


def _candidates(bits: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield pairs of rows whose hashes differ in at most ``_MOST_BITS`` bits.

    Of one band more than there may be differing bits, one is equal (pigeonhole): only rows that share a band are
    compared.
    """
    bands = _MOST_BITS + 1
    edges = [64 * band // bands for band in range(bands + 1)]
    for low, high in pairwise(edges):
        band = (bits >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        for ones, others in _in_chunks(map(_pairs, _buckets(band))):
            near = np.bitwise_count(bits[ones] ^ bits[others]) <= _MOST_BITS
            yield ones[near], others[near]


def _buckets(values: NDArray[np.uint64]) -> list[NDArray[np.intp]]:
    """Return the positions of each different value, ascending."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1)


Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


def _pairs(bucket: NDArray[np.intp]) -> Iterator[Pairs]:
    """Yield all pairs of a bucket's rows, one row with those after it at a time where they are many."""
    if len(bucket) * len(bucket) <= _CHUNK:
        ones, others = np.triu_indices(len(bucket), 1)
        yield bucket[ones], bucket[others]
        return
    for place in range(len(bucket) - 1):
        others = bucket[place + 1 :]
        yield np.full(len(others), bucket[place]), others


def _in_chunks(buckets: Iterable[Iterator[Pairs]]) -> Iterator[Pairs]:
    """Put the pairs of small buckets together."""
    held: list[Pairs] = []
    count = 0
    for bucket in buckets:
        for pair in bucket:
            held.append(pair)
            count += len(pair[0])
            if count >= _CHUNK:
                yield np.concatenate([one for one, _ in held]), np.concatenate([other for _, other in held])
                held, count = [], 0
    if held:
        yield np.concatenate([one for one, _ in held]), np.concatenate([other for _, other in held])
