"""Checks of a card that need no detector: digests, suite, images, and every number against the verdicts."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from robustbench_aigen.leaderboard.card import Entry
from robustbench_aigen.stages.pipeline import CLEAN
from robustbench_aigen.text import counted
from robustbench_aigen.trust.checks.records import nearly_one_class
from robustbench_aigen.trust.flags import ONE_CLASS

Subject = Literal[
    "digest", "suite", "images", "numbers", "weights", "detector", "threshold", "flags", "verdicts"
]
_ROUNDING = 2e-6
"""Difference of two shares that were rounded to six decimals."""


class CardFault(NamedTuple):
    """A reason to refuse a card: the subject, and a sentence."""

    subject: Subject
    sentence: str


def check_entry(entry: Entry) -> list[CardFault]:
    """Return the faults of a card that show without its detector; an empty list for a sound card."""
    return [*_check_origin(entry), *_check_images(entry), *_check_numbers(entry), *_check_flags(entry)]


def _check_origin(entry: Entry) -> Iterator[CardFault]:
    for change in entry.changes:
        yield CardFault("digest", change)
    if entry.card.suite.sha256 != entry.suite.sha256:
        yield CardFault("suite", f"the digest of the suite is not that of {entry.suite.name}")
    if entry.suite.takes_own_images:
        if entry.card.suite.data is None:
            yield CardFault("images", f"the card does not name its images, and {entry.suite.name} has none")
    elif entry.card.suite.fingerprint != entry.suite.fingerprint:
        yield CardFault("images", f"the fingerprint of the images is not that of {entry.suite.name}")


def _check_images(entry: Entry) -> Iterator[CardFault]:
    twice = int(entry.verdicts.images["sample"].duplicated().sum())
    if twice:
        yield CardFault("images", f"{counted(twice, 'image')} listed twice")
    elif not entry.suite.takes_own_images:
        yield from compare_images(entry, entry.suite.images, entry.suite.name)


def compare_images(entry: Entry, images: pd.DataFrame, name: str) -> Iterator[CardFault]:
    """Yield the differences between the images that a card lists and others of a name.

    Parameters
    ----------
    entry
        The card; no image is listed twice.
    images
        ``sample, label, generator, sha256`` of each image.
    name
        Their name in the sentences.
    """
    expected = images.set_index("sample")
    found = entry.verdicts.images.set_index("sample")
    foreign, missing = found.index.difference(expected.index), expected.index.difference(found.index)
    if len(foreign) or len(missing):
        yield CardFault(
            "images",
            f"{counted(len(foreign), 'image')} not of {name}, {counted(len(missing), 'image')} missing",
        )
    both = expected.index.intersection(found.index)
    for column in expected.columns:
        differs = (expected.loc[both, column] != found.loc[both, column]).to_numpy(bool)
        if differs.any():
            yield CardFault(
                "images",
                f"{counted(int(differs.sum()), 'image')} with another {column} than in {name}: "
                f"{both[int(np.argmax(differs))]}",
            )


def _check_numbers(entry: Entry) -> Iterator[CardFault]:
    computed, stated = entry.verdicts.numbers(entry.suite), entry.card.results
    if {name: sorted(groups) for name, groups in stated.items()} != {
        name: sorted(groups) for name, groups in computed.items()
    }:
        yield CardFault("numbers", f"the conditions or groups of images are not those of {entry.suite.name}")
        return
    for condition, groups in computed.items():
        for group, numbers in groups.items():
            own = stated[condition][group].model_dump()
            differing = [name for name, value in numbers.items() if abs(own[name] - value) > _ROUNDING]
            if differing:
                name = differing[0]
                yield CardFault(
                    "numbers",
                    f"{condition}, {group}: {name} is {own[name]:g}, and the verdicts give {numbers[name]:g}",
                )


def _check_flags(entry: Entry) -> Iterator[CardFault]:
    """Yield the pipelines whose verdicts are of one class, where the card has no such flag."""
    stated = {flag.pipeline for flag in entry.card.flags if flag.flag == ONE_CLASS}
    for name in [CLEAN, *entry.suite.degradations]:
        evidence = nearly_one_class(entry.verdicts.images.assign(correct=entry.verdicts.right[name]))
        if evidence is not None and name not in stated:
            yield CardFault("flags", f"{name}: the flag {ONE_CLASS} is missing: {evidence}")
