"""Atomic writing of files and folders, removal of unfinished files, and the sha256 of a file."""

import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path, PurePath
from secrets import token_hex
from typing import BinaryIO

from robustbench_aigen.errors import UserError

PARTIAL = ".partial-"
"""Prefix of the names of unfinished files and folders."""
_OWNED = re.compile(re.escape(PARTIAL) + r"(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-[0-9a-f]{8}")
_HOUR, _DAY = 3600.0, 86400.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_of_file(file: Path) -> str:
    """Return the sha256 of a file, in hexadecimal.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    require_regular(file)
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def require_regular(file: Path) -> None:
    """Raise OSError if a path is not a regular file, because reading a pipe would never end."""
    if not file.is_file() and file.exists():
        raise OSError(errno.EINVAL, "not a regular file", str(file))


def stays_inside(name: str) -> bool:
    """Whether a path that a file names stays in the folder of the file, by its text alone.

    >>> stays_inside("images/0.png"), stays_inside("../0.png"), stays_inside("/etc/passwd")
    (True, False, False)
    """
    path = PurePath(name)
    return bool(name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file; false for a name that the system refuses, such as a long one."""
    try:
        return path.is_file()
    except OSError:
        return False


@contextmanager
def writing(what: object = "results", instead: str = "choose another folder with --output") -> Iterator[None]:
    """Turn write errors of the operating system into :class:`UserError`.

    Parameters
    ----------
    what
        Name of the written thing, for the message.
    instead
        Advice for the user.

    Raises
    ------
    UserError
        For every OSError of the block.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        where = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        hint = f"free some space there, or {instead}" if error.errno in _FULL else instead
        raise UserError(f"cannot write {what}: {reason}{where}", hint=hint) from error


@contextmanager
def atomic_file(file: Path, *, within: Path | None = None, own: bool = False) -> Iterator[BinaryIO]:
    """Yield a stream whose content becomes ``file`` when the block succeeds, and is deleted after an error.

    Parameters
    ----------
    file
        The file to write or replace. Its folder is made.
    within
        A folder on the same file system for the unfinished file; by default the file's own.
    own
        Whether the name is the program's alone, as in a cache: an existing folder is removed.

    Raises
    ------
    OSError
        If the file cannot be written: with its name.
    """
    temporary = _temporary(file.parent if within is None else within)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if own and file.is_dir():
                discard(file)
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):
            # A stream does not know its name, and the temporary name says nothing to the user.
            error.filename, error.filename2 = str(file), None
        raise


def write_atomically(file: Path, content: bytes, *, own: bool = False) -> None:
    """Write a file atomically, and remove unfinished files of killed processes beside it.

    ``own`` is that of :func:`atomic_file`.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with writing():
        with atomic_file(file, own=own) as stream:
            stream.write(content)
        remove_leftovers(file.parent)


@contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a folder that becomes ``folder`` when the block succeeds, and is deleted after an error.

    Parameters
    ----------
    folder
        The folder to make. An empty folder of that name is replaced.
    replace
        Whether a folder with content is replaced, too.

    Raises
    ------
    OSError
        If the folder cannot be written, or exists and may not be replaced.
    """
    with temporary_folder(folder.parent) as temporary:
        yield temporary
        if replace and folder.exists():
            replaced = _temporary(folder.parent)
            folder.rename(replaced)
            temporary.rename(folder)
            shutil.rmtree(replaced, ignore_errors=True)
            return
        if folder.is_dir():
            folder.rmdir()
        temporary.rename(folder)


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder inside ``parent``, which is deleted with its content when the block ends.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    temporary = _temporary(parent)
    try:
        temporary.mkdir()
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard(path: Path) -> None:
    """Remove a file, a link, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of killed processes from a folder.

    Processes of this machine are found by id. Files of other machines are removed after an hour without writes.
    """
    for left in folder.glob(f"{PARTIAL}*"):
        try:
            if _is_abandoned(left):
                discard(left)
        except OSError:
            continue  # Another process has just finished or removed it.


def _temporary(folder: Path) -> Path:
    return folder / f"{PARTIAL}{_machine()}-{os.getpid()}-{token_hex(4)}"


@cache
def _machine() -> str:
    """Return the name of the process namespace: containers on one machine count processes separately."""
    name = platform.node()
    with suppress(OSError):  # Not Linux.
        name += str(Path("/proc/self/ns/pid").readlink())
    return sha256(name.encode()).hexdigest()[:8]


def _is_abandoned(left: Path) -> bool:
    age = time.time() - _last_written(left)
    owner = _OWNED.fullmatch(left.name)
    if owner is None or owner["machine"] != _machine():
        return age > _HOUR
    # The id of a dead process is given away again some day.
    return age > _DAY if _is_alive(int(owner["process"])) else True


def _last_written(path: Path) -> float:
    """Return when anything of a file or folder was last written, in seconds since 1970."""
    latest = path.lstat().st_mtime
    for root, folders, files in os.walk(path):
        for name in (*folders, *files):
            latest = max(latest, Path(root, name).lstat().st_mtime)
    return latest


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # There, signal 0 would end the process.
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
