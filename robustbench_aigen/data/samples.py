"""Samples and the sources they come from."""

from typing import NamedTuple, Protocol

REAL_POOL = "real"
"""Generator name of real images that belong to every generator of their source."""


IN_PACKAGE = "in the package"
"""Layout of the data that the package brings itself: nothing was found out there."""


class Sample(NamedTuple):
    """One labelled image of a source.

    ``id`` is unique in the source and stable; ``label`` is 0 (real) or 1 (AI-generated); ``generator`` names what
    made it, or for a real image the generator it is the counterpart of (``real``: of all). ``split`` is None
    where the source has no splits.
    """

    id: str
    label: int
    generator: str
    split: str | None


class ImageSource(Protocol):
    """Where encoded images come from; nothing is held that need not be."""

    name: str
    samples: list[Sample]
    notices: list[str]
    """What the user should know of what was found."""
    layout: str
    """How the images lie, in words: ``folders split/class, as in CIFAKE``."""

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of ``samples[index]``."""
        ...


def read_encoded(source: ImageSource, index: int) -> bytes:
    """Return an encoded image, or nothing where it cannot be read: empty bytes are an unreadable image too."""
    try:
        return source.encoded(index)
    except OSError:
        return b""
