"""One pass over the images of a selection: file properties and fingerprint of each image."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from robustbench_aigen.data.audit.facts import ImageFacts, facts_of, read_facts
from robustbench_aigen.data.near_duplicates import Fingerprint, fingerprint_opened
from robustbench_aigen.data.samples import ImageSource, Sample, read_encoded
from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image
from robustbench_aigen.numerics.parallel_map import in_threads


class Surveyed(NamedTuple):
    """Properties of one image. ``fingerprint`` is None if the audit does not search for copies."""

    sample: Sample
    facts: ImageFacts
    fingerprint: Fingerprint | None


class Unreadable(NamedTuple):
    """An image that cannot be read, and why."""

    sample: str
    reason: str


class Survey(NamedTuple):
    """The images that can be read, and those that cannot."""

    images: list[Surveyed]
    unreadable: list[Unreadable]


def survey(
    source: ImageSource, indices: Sequence[int], advance: Callable[[int], None] = lambda _: None
) -> Survey:
    """Read the facts and fingerprints of some images of a source, telling ``advance`` how many more are done.

    Images are read one after the other, as a source requires, and examined in threads.
    """
    found = Survey([], [])
    for index, looked_at in _looked_at(source, indices):
        sample = source.samples[index]
        if isinstance(looked_at, str):
            found.unreadable.append(Unreadable(sample.id, looked_at))
        else:
            found.images.append(Surveyed(sample, *looked_at))
        advance(1)
    return found


def survey_headers(source: ImageSource, indices: Sequence[int]) -> list[Surveyed]:
    """Read the facts of some images from their headers alone; what has none is left out."""
    found = []
    for index in indices:
        try:
            facts = facts_of(read_encoded(source, index))
        except UnreadableImageError:
            continue
        found.append(Surveyed(source.samples[index], facts, None))
    return found


def _looked_at(
    source: ImageSource, indices: Sequence[int]
) -> Iterator[tuple[int, tuple[ImageFacts, Fingerprint] | str]]:
    with warnings.catch_warnings():
        # A warning of Pillow in one thread would appear in the code of another thread.
        warnings.simplefilter("ignore")
        encoded = (read_encoded(source, index) for index in indices)
        yield from zip(indices, in_threads(_look_at, encoded), strict=True)


def _look_at(encoded: bytes) -> tuple[ImageFacts, Fingerprint] | str:
    """Return the facts of an image, or the reason why it cannot be read."""
    try:
        with opened_image(encoded) as image:
            return read_facts(image, encoded), fingerprint_opened(image, encoded)
    except UnreadableImageError as error:
        return str(error)
