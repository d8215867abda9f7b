"""Recording of the files and environment variables that a user's code reads."""

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import FrameType

from robustbench_aigen.detectors.identity import file_hash
from robustbench_aigen.imports import is_installed


@dataclass
class Opened:
    """Files that were opened to be read or written, and values of environment variables that the user's code read."""

    files: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    variables: dict[str, str | None] = field(default_factory=dict)

    def identity(self) -> tuple[str, ...]:
        """Return hashes of the files' present contents and of the variables' values, in an order that does not change.

        Files of installed packages and of the system are left out, and so is what is no longer there.
        """
        # Imported modules are part of the source code; Python opens them only where it has not compiled them yet.
        modules = {
            os.path.realpath(getattr(each, "__file__", None) or "") for each in list(sys.modules.values())
        }
        files = [
            file
            for file in map(Path, sorted(self.files - self.written))
            if os.path.realpath(file) not in modules
        ]
        contents = {file_hash(file) for file in files if _counts(file)}
        values = [
            f"{name}={sha256(repr(value).encode('utf-8', 'surrogateescape')).hexdigest()}"
            for name, value in sorted(self.variables.items())
        ]
        return (*sorted(contents), *values)

    def add_named_in(self, sources: Iterable[Path]) -> None:
        """Add the files that text in some source code names: libraries in C open files without Python's knowledge."""
        for source in sources:
            for text in _texts_in(source):
                for folder in (source.parent, Path.cwd()):
                    place = folder / text
                    if place.is_file():
                        self.files.add(str(place))


_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/lib/", "/usr/share/", "/run/")


def _counts(file: Path) -> bool:
    place = os.path.realpath(file)
    is_system = place.startswith(_SYSTEM) or is_installed(place)
    return not is_system and not place.endswith(".pyc") and file.is_file() and os.access(file, os.R_OK)


def _texts_in(source: Path) -> set[str]:
    """Return the short texts in Python code that could name a file."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return set()
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) < 256 and "\0" not in node.value
    }  # fmt: skip


_recordings: list[Opened] = []
_hooked = False


@contextmanager
def recorded() -> Iterator[Opened]:
    """Record the files opened inside the block, by any library that opens files through Python."""
    global _hooked  # noqa: PLW0603  A hook cannot be taken away again, so there is one for the whole process.
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked = True
    opened = Opened()
    _recordings.append(opened)
    before = os.environ.__class__
    os.environ.__class__ = _HeardEnvironment
    try:
        yield opened
    finally:
        _recordings.remove(opened)
        os.environ.__class__ = before


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _recordings or event not in ("open", "ctypes.dlopen", "sqlite3.connect"):
        return
    path = arguments[0]
    flags = arguments[2] if event == "open" and len(arguments) > 2 else 0
    writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
    if isinstance(path, str | bytes | os.PathLike):
        place = str(Path.cwd() / os.fsdecode(path))
        for recording in _recordings:
            (recording.written if writes else recording.files).add(place)


class _HeardEnvironment(type(os.environ)):  # type: ignore[misc]
    """The environment, which tells what the user's own code asks of it."""

    def __getitem__(self, name: str) -> str:
        value = None
        try:
            value = super().__getitem__(name)
        finally:
            if _recordings and _asked_by_the_user():
                for recording in _recordings:
                    recording.variables[name] = value
        return value


def _asked_by_the_user() -> bool:
    """Whether the calling code is neither Python's own nor installed; frames of ``os`` are skipped."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  There is no other way to see who calls.
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen", os.__file__)):
        frame = frame.f_back
    return frame is not None and not is_installed(os.path.realpath(frame.f_code.co_filename))
