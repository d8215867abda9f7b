"""Several sources as one."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from robustbench_aigen.data.samples import ImageSource
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import about


class JoinedSource:
    """The samples of several sources, one source after the other.

    An id is the source's name, a slash, and the id there, so that it depends neither on the order of the sources nor
    on their places; equal names get the folders above them.

    Parameters
    ----------
    sources
        At least two.
    places
        Path or other reference of each source.

    Raises
    ------
    UserError
        If a source is named twice.
    """

    def __init__(self, sources: Sequence[ImageSource], places: Sequence[str]) -> None:
        self.sources = list(sources)
        self._names = _told_apart([source.name for source in sources], places)
        self.name = " + ".join(self._names)
        counts = [len(source.samples) for source in sources]
        self._firsts = [0, *accumulate(counts)][:-1]
        self.parts = [range(first, first + count) for first, count in zip(self._firsts, counts, strict=True)]
        """The rows of each source."""
        named = list(zip(self._names, sources, strict=True))
        self.samples = [
            sample._replace(id=f"{name}/{sample.id}") for name, source in named for sample in source.samples
        ]
        self.notices: list[str] = [about(name, notice) for name, source in named for notice in source.notices]
        self.layout = "; ".join(f"{name}: {source.layout}" for name, source in named)

    def source_of(self, index: int) -> str:
        """Return the name of the source that a sample is from."""
        return self._names[bisect_right(self._firsts, index) - 1]

    def encoded(self, index: int) -> bytes:
        """Return a sample's encoded image from its source."""
        place = bisect_right(self._firsts, index) - 1
        return self.sources[place].encoded(index - self._firsts[place])


def _told_apart(names: list[str], places: Sequence[str]) -> list[str]:
    told = list(names)
    for place, name in enumerate(names):
        same = [other for other, known in enumerate(names) if known == name and other != place]
        above = Path(places[place]).parts[:-1]
        depth = 0
        while any(told[place] == _longer(name, places[other], depth) for other in same):
            depth += 1
            if depth > len(above):
                raise UserError(f"'{places[place]}' is listed twice", hint="list every source once")
            told[place] = _longer(name, places[place], depth)
    return told


def _longer(name: str, place: str, depth: int) -> str:
    """Put the last ``depth`` folders above a place before its name."""
    above = [part for part in Path(place).parts[:-1] if part != "/"]
    return "/".join([*above[len(above) - depth :], name]) if depth else name
