"""Checks of files before they are read: kind by first bytes, and unpacked size."""

import zipfile
from pathlib import Path

from robustbench_aigen.errors import UserError, first_line

HDF5 = b"\x89HDF\r\n\x1a\n"
_HARMLESS = 2**28
"""Unpacked size that is always accepted, in bytes."""
_RATIO = 20
"""Largest ratio of unpacked size to stored size of a large archive; weights hardly compress."""
LARGEST_TEXT = 2**26
"""Bytes of a configuration."""


def beginning(file: Path, count: int = 16) -> bytes:
    """Return the first bytes of a file, fewer where it is shorter.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error


def is_zip(file: Path) -> bool:
    """Whether a file begins as a zip archive: torch's reader looks there, and nowhere else."""
    return beginning(file, 4) == b"PK\x03\x04"


def is_safetensors(file: Path) -> bool:
    """Whether a file begins with the length of a header inside the file, and that header is JSON."""
    start = beginning(file, 9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= file.stat().st_size - 8


def check_unpacked_size(file: Path) -> list[str]:
    """Return the names in a zip archive.

    Raises
    ------
    UserError
        If it is damaged, or unpacks to far more than its size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"is a damaged zip archive: {first_line(error)}", file=file) from error
    check_size(file, sum(entry.file_size for entry in entries))
    return [entry.filename for entry in entries]


def check_size(file: Path, unpacked: int) -> None:
    """Raise UserError where the content of a file takes far more bytes than the file has."""
    stored = file.stat().st_size
    if unpacked > max(_HARMLESS, _RATIO * stored):
        raise UserError(
            f"has {_size(stored)} and unpacks to {_size(unpacked)}, above the limit",
            file=file,
            hint="if these are your weights, save them without compression",
        )


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count //= 1000
    return f"{count:,} GB"


def file_kind(file: Path) -> str:
    """Return the kind of a file of torch: ``exported`` (torch.export), ``torchscript`` or ``weights``."""
    if not is_zip(file) or not zipfile.is_zipfile(file):
        return "weights"
    with zipfile.ZipFile(file) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if "archive_format" in names or any(name.startswith("models/") for name in names):
        return "exported"
    return "torchscript" if any(name.startswith("code/") for name in names) else "weights"
