"""Bounded reading: regular files alone, and none above a stated size."""

import os
import stat
from pathlib import Path

MOST_BYTES = 256 * 1024**2
"""Of one encoded image. The largest images that are decoded take no more in any usual format."""
_MEBIBYTE = 1024**2


class RefusedFileError(OSError):
    """A file that is not read although it is there; the message says why."""


def read_file(file: Path, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Pipes and devices are refused before a byte is read: one could keep the reader waiting, or never end. The file is
    looked at after it is opened, so that nothing can be put in its place in between.

    Parameters
    ----------
    file
        Links are followed.
    most
        The largest size in bytes.

    Raises
    ------
    OSError
        If the file cannot be read; :class:`RefusedFileError` if it is not a regular file or too large.
    """
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedFileError(f"{_kind(status.st_mode)}, not a file")
        refuse_size(status.st_size, most)
        content = stream.read(most + 1)
    refuse_size(len(content), most)
    return content


def refuse_size(size: int, most: int = MOST_BYTES) -> None:
    """Refuse a stored image of more than ``most`` bytes before it is read.

    Raises
    ------
    RefusedFileError
        If it is so large.
    """
    if size > most:
        raise RefusedFileError(f"{size / _MEBIBYTE:,.0f} MiB: above the limit of {most // _MEBIBYTE} MiB")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device" if not stat.S_ISSOCK(mode) else "a socket"
