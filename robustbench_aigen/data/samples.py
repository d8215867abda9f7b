"""Samples and the sources they come from."""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robustbench_aigen.errors import first_line
from robustbench_aigen.file_reading import RefusedFileError
from robustbench_aigen.numerics.decoding import MISSING, Unread

REAL_POOL = "real"
"""Generator name of real images that belong to every generator of their source."""


CLASS_NAMES = ("real", "fake")
"""The names of the labels 0 and 1."""
IN_PACKAGE = "in the package"
"""Layout of the data that the package brings itself: nothing was found out there."""


class Sample(NamedTuple):
    """One labelled image of a source.

    ``id`` is unique in the source and stable; ``label`` is 0 (real) or 1 (AI-generated); ``generator`` names what
    made it, or for a real image the generator it is the counterpart of (``real``: of all). ``split`` is None
    where the source has no splits. ``generated_area`` is the share of the image that is generated, in data that mix
    photographs with generated regions; None elsewhere.
    """

    id: str
    label: int
    generator: str
    split: str | None
    generated_area: float | None = None


class ImageSource(Protocol):
    """A source of encoded images, read on demand."""

    name: str
    samples: list[Sample]
    notices: list[str]
    """Notices on the reading of the source."""
    layout: str
    """Layout of the images as text: ``folders split/class, as in CIFAKE``."""

    def encoded(self, index: int) -> bytes:
        """Return the encoded image of ``samples[index]``."""
        ...


def read_encoded(source: ImageSource, index: int) -> bytes:
    """Return an encoded image, or :class:`Unread` where it cannot be read: empty bytes are an unreadable image too."""
    try:
        return source.encoded(index)
    except FileNotFoundError:
        return Unread(MISSING)
    except RefusedFileError as error:
        return Unread(str(error))
    except OSError as error:
        return Unread(error.strerror or first_line(error))


def reals_of(generators: Iterable[str], images: Iterable[tuple[str, int]]) -> set[str]:
    """Return the generator names of the real images that some generators' fakes are compared with.

    Those of the same names, and the pool of all. Reals under a name that no fake has, photographs in a folder of their
    own, belong to every generator that has no reals of its own.

    Parameters
    ----------
    generators
        The generators of the fakes.
    images
        Generator name and label of all images; each pair once is enough.
    """
    pairs = set(images)
    fakes, reals = ({name for name, label in pairs if label == wanted} for wanted in (1, 0))
    names = {*generators, REAL_POOL}
    return names if reals.issuperset(generators) else names | (reals - fakes)


def belongs_to(
    labels: Sequence[int], generators: Sequence[str], wanted: Collection[str]
) -> NDArray[np.bool_]:
    """Return a mask of the fakes of some generators and the reals that they are compared with.

    Parameters
    ----------
    labels, generators
        For each of N images: 0 (real) or 1 (fake), and the name of the generator.
    wanted
        Names of generators.

    Returns
    -------
    numpy.ndarray
        N booleans; :func:`reals_of` chooses the reals.
    """
    fake = np.asarray(labels) == 1
    coded = getattr(generators, "cat", None)
    if coded is None:
        names, places = np.unique(np.asarray(generators, dtype=str), return_inverse=True)
    else:  # A column of pandas that has each name once.
        names, places = np.asarray(coded.categories, dtype=str), np.asarray(coded.codes)
    # Of all images with one name and label, one: records have millions of rows.
    pairs = {
        (str(names[place]), int(is_fake))
        for place, is_fake in {*zip(places.tolist(), fake.tolist(), strict=True)}
    }
    fakes, reals = np.isin(names, [*wanted]), np.isin(names, [*reals_of(wanted, pairs)])
    return np.where(fake, fakes[places], reals[places])


def fingerprint(images: Iterable[Sequence[object]]) -> str:
    """Return one hash for some images.

    Parameters
    ----------
    images
        Id, label (0 or 1), generator, and sha256 of the file of each image, in order.
    """
    digest = sha256()
    for image in images:
        digest.update("\0".join(map(str, image)).encode() + b"\n")
    return digest.hexdigest()
