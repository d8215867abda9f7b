"""A small file through which a worker tells its supervisor what it does."""

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

_LAYOUT = struct.Struct("<Qdd")


class State(NamedTuple):
    """Inputs so far, the start of the present one (0 between two), and the memory at its start, in bytes."""

    inputs: int
    started: float
    memory: float


class Progress:
    """The shared state of a worker.

    Parameters
    ----------
    file
        Its file, made where it is missing.
    """

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(_LAYOUT.size))
        with file.open("r+b") as stream:
            self._shared = mmap.mmap(stream.fileno(), _LAYOUT.size)

    @property
    def state(self) -> State:
        """The present state."""
        return State(*_LAYOUT.unpack_from(self._shared))

    @state.setter
    def state(self, state: State) -> None:
        _LAYOUT.pack_into(self._shared, 0, *state)


def resident(process: int | str = "self") -> int:
    """Return the resident memory of a process in bytes; 0 where the system does not say it."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * mmap.PAGESIZE
