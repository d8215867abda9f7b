"""Bounded reading of files: only regular files, up to a size limit."""

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 256 * 1024**2
"""Largest size of an encoded image, enough for the largest decoded images in all usual formats."""
_MEBIBYTE = 1024**2
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class RefusedFileError(OSError):
    """An existing file that is refused; the message has the reason."""


def read_file(file: Path, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Pipes and devices are refused before a byte is read: they may never end. The check comes after opening,
    so that nothing can be put in its place in between.

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
    with opened_file(file) as stream:
        refuse_size(os.fstat(stream.fileno()).st_size, most)
        content = stream.read(most + 1)
    refuse_size(len(content), most)
    return content


def opened_file(file: Path) -> BinaryIO:
    """Open a regular file for reading; refuse pipes and devices, which could block.

    Raises
    ------
    OSError
        If it cannot be opened; :class:`RefusedFileError` if it is not a regular file.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:
        raise RefusedFileError(f"not a valid path: {error}") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise RefusedFileError(f"{_kind(mode)}, not a file")
    return os.fdopen(descriptor, "rb")


def located_file(path: str, folders: Sequence[Path]) -> Path:
    """Return the file that a path in a table or a list means; backslashes separate folders as well.

    Parameters
    ----------
    path
        Absolute, or relative to one of the folders; ``file://`` before it says nothing more.
    folders
        The folders that a relative path may start at, in order.

    Raises
    ------
    OSError
        If there is no such file, or the path is an address of the network.
    """
    text = path.strip().removeprefix("file://")
    if _ADDRESS.match(text):
        raise RefusedFileError("an address: images are read from files")
    spellings = dict.fromkeys((text, text.replace("\\", "/")))
    candidates = [folder / spelling for spelling in spellings for folder in folders]
    for candidate in candidates:
        if os.path.lexists(candidate):
            return candidate
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


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
