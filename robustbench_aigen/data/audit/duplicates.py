"""Copies among the images of a data set: inside a split and class, across splits, across classes."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from robustbench_aigen.data.audit.survey import Surveyed
from robustbench_aigen.data.near_duplicates import duplicate_groups
from robustbench_aigen.data.samples import Sample


class Copies(NamedTuple):
    """A group of images that are copies of one another; ``is_exact`` where their files are identical."""

    samples: tuple[Sample, ...]
    is_exact: bool

    @property
    def across_splits(self) -> bool:
        """Whether a picture is in two splits: what is tested on was trained on."""
        return len({sample.split for sample in self.samples}) > 1

    @property
    def across_classes(self) -> bool:
        """Whether a picture has both labels."""
        return len({sample.label for sample in self.samples}) > 1


class Tally(NamedTuple):
    """Counts of groups of copies, of their images, and of groups across splits and classes."""

    groups: int
    images: int
    across_splits: int
    across_classes: int


def find_copies(images: Sequence[Surveyed]) -> tuple[list[Copies], list[Copies]]:
    """Return the groups of identical files, and the groups that have other copies in them too."""
    by_content: dict[bytes, list[Sample]] = defaultdict(list)
    prints = []
    for image in images:
        assert image.fingerprint is not None
        prints.append(image.fingerprint)
        by_content[image.fingerprint.content].append(image.sample)
    exact = [Copies(tuple(samples), is_exact=True) for samples in by_content.values() if len(samples) > 1]
    near = [
        Copies(tuple(images[row].sample for row in group), is_exact=False)
        for group in duplicate_groups(prints)
        if len({prints[row].content for row in group}) > 1
    ]
    return exact, near


def tally(copies: Sequence[Copies]) -> Tally:
    """Count groups of copies."""
    return Tally(
        len(copies),
        sum(len(group.samples) for group in copies),
        sum(group.across_splits for group in copies),
        sum(group.across_classes for group in copies),
    )


def as_dict(copies: Sequence[Copies], most: int = 20) -> dict[str, Any]:
    """Return counts, and the first groups that cross splits or classes, for JSON."""
    crossing = [group for group in copies if group.across_splits or group.across_classes]
    examples = [
        [{"id": s.id, "split": s.split, "label": s.label} for s in group.samples] for group in crossing[:most]
    ]
    return {**tally(copies)._asdict(), "examples": examples}
