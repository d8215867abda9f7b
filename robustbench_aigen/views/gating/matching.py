"""The images that two runs have in common, where one of them was imported: by hash, by id, or by path."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigen.runs.run import Run
from robustbench_aigen.text import counted

DIGITS = 16
"""Length of an image's hash in a baseline."""
_MOST_PARTS = 4


class CommonImages(NamedTuple):
    """The places of common images in the cells of two runs.

    Parameters
    ----------
    now, then
        M places each, in the current run and in the baseline.
    generators
        M generators for both, where only one of the runs knows generators; else None.
    how
        How images were matched; empty for runs of the same images.
    relabelled
        The number of matched images that are left out, because their contents, labels or generators differ.
    """

    now: NDArray[np.intp]
    then: NDArray[np.intp]
    generators: NDArray[np.object_] | None = None
    how: str = ""
    relabelled: int = 0

    def parts(self, now: pd.DataFrame, then: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the records of the common images, of one cell of each run."""
        now, then = now.iloc[self.now], then.iloc[self.then]
        if self.generators is None:
            return now, then
        return now.assign(generator=self.generators), then.assign(generator=self.generators)


def is_imported(*runs: Run) -> bool:
    """Whether one of the runs is of imported scores."""
    return any(run.info.scores is not None for run in runs)


def match_images(current: Run, baseline: Run) -> CommonImages:
    """Match the images of two runs by the way that matches most of them.

    The ways are the sha256 of the file, the id, and the last parts of the path, down to the file name. Ids and hashes
    that a run has twice match nothing.
    """
    sides = [run.cells.images() for run in (current, baseline)]
    best: tuple[str, pd.Index] = ("", pd.Index([]))
    keys: list[pd.Index] = []
    for how, *found in _ways(*sides):
        unique = [index[~index.duplicated(keep=False) & (index != "")] for index in found]
        both = unique[0].intersection(unique[1], sort=False)
        if len(both) > len(best[1]):
            best, keys = (how, both), found
        if len(both) == min(map(len, sides)):
            break
    how, both = best
    if not len(both):
        nothing = np.array([], dtype=np.intp)
        return CommonImages(nothing, nothing)
    # Places of keys that occur once.
    places = [pd.Series(np.arange(len(index)), index=index).loc[both].to_numpy() for index in keys]
    labels, generators = (
        [side[name].to_numpy()[at] for side, at in zip(sides, places, strict=True)]
        for name in ("label", "generator")
    )
    equal = labels[0] == labels[1]
    digests = [_digests(side)[at] for side, at in zip(sides, places, strict=True)]
    equal &= np.asarray((digests[0] == digests[1]) | (digests[0] == "") | (digests[1] == ""))
    known = [_knows_generators(run) for run in (current, baseline)]
    shared: NDArray[np.object_] | None = None
    if all(known):
        equal &= generators[0] == generators[1]
    elif any(known):
        shared = np.asarray(generators[0] if known[0] else generators[1], dtype=object)[equal]
    now, then = (at[equal] for at in places)
    return CommonImages(now, then, shared, how, int((~equal).sum()))


def _knows_generators(run: Run) -> bool:
    return run.info.scores is None or run.info.scores.has_generators


def _digests(records: pd.DataFrame) -> pd.Index:
    return pd.Index(records["sha256"].astype(str).str[:DIGITS].str.lower())


def _ways(now: pd.DataFrame, then: pd.DataFrame) -> Iterator[tuple[str, pd.Index, pd.Index]]:
    """Yield names of the ways to match, with the key of every image of each run."""
    hashes = [_digests(side) for side in (now, then)]
    yield "by sha256", hashes[0], hashes[1]
    ids = [pd.Index(side["sample"].astype(str)) for side in (now, then)]
    yield "by id", ids[0], ids[1]
    paths = [[name.replace("\\", "/").split("/") for name in index] for index in ids]
    for count in range(_MOST_PARTS, 0, -1):
        tails = [
            pd.Index(["/".join(parts[-count:]) if len(parts) >= count else "" for parts in side])
            for side in paths
        ]
        how = "by file name" if count == 1 else f"by the last {count} parts of the path"
        yield how, tails[0], tails[1]


def matching_notice(common: CommonImages, current: Run, baseline: Run) -> str:
    """Return a line on the number of matched images."""
    counts = current.info.data.images, baseline.info.data.images
    return (
        f"{counted(len(common.now), 'image is', 'images are')} matched {common.how}, of {counts[0]} now and "
        f"{counts[1]} in the baseline"
    )
