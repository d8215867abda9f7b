"""The EXIF of the files that services get, which belongs to a call and not to a detector."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

ExifOf = Callable[[Tensor], bytes]
"""From a 3×H×W uint8 image to its EXIF."""
_EXIF: ContextVar[ExifOf | None] = ContextVar("exif", default=None)


@contextmanager
def files_with(exif: ExifOf | None) -> Iterator[None]:
    """Send images with EXIF inside a block, in this thread; None sends them without."""
    token = _EXIF.set(exif)
    try:
        yield
    finally:
        _EXIF.reset(token)


def present_exif(levels: Tensor) -> bytes:
    """Return the EXIF that a 3×H×W uint8 image is sent with now; empty for none."""
    exif = _EXIF.get()
    return b"" if exif is None else exif(levels)
