"""One hash for the images of a run."""

from collections.abc import Iterable, Sequence
from hashlib import sha256


def fingerprint(images: Iterable[Sequence[object]]) -> str:
    """Return one hash for some images.

    Parameters
    ----------
    images
        Of each, in their order: id, label (0 or 1), generator, and the sha256 of its file.
    """
    digest = sha256()
    for image in images:
        digest.update("\0".join(str(value) for value in image).encode() + b"\n")
    return digest.hexdigest()
