"""The threads that decode, hash and perturb images: one pool for the whole process.

The threads of torch inside a network are a separate matter (``OMP_NUM_THREADS``, ``torch.set_num_threads``).
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from robustbench_aigen.errors import UserError

_CGROUP, _PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_own = threading.local()


class _Process:
    """The pools of the process by their numbers of threads, one unless the number changes; and the wanted number."""

    def __init__(self) -> None:
        self.pools: dict[int, ThreadPoolExecutor] = {}
        self.lock = threading.Lock()
        self.wanted: int | None = None

    def forget(self) -> None:
        """Begin without a pool in a forked process, which has none of its parent's threads."""
        self.pools, self.lock = {}, threading.Lock()
        _own.is_worker = False


_process = _Process()


def available_cores() -> int:
    """Return the number of cores that this process may use: its affinity, and the CPU quota of its container."""
    # Python 3.13 has os.process_cpu_count for the affinity; joblib knows quotas, and takes 0.3 s to import.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return affinity if quota is None else max(1, min(affinity, ceil(quota)))


def _quota() -> float | None:
    """Return the smallest CPU quota of the process's control groups, version 2 or 1, in cores; None without a quota."""
    try:
        own = _PROCESS.read_text(encoding="utf-8").split("::/", 1)[-1].splitlines()[0]
    except (OSError, IndexError):
        own = ""  # Not Linux.
    group = _CGROUP / own
    quotas = [_ratio(each / "cpu.max") for each in (group, *group.parents) if each.is_relative_to(_CGROUP)]
    quotas.append(_ratio(_CGROUP / "cpu" / "cpu.cfs_quota_us", _CGROUP / "cpu" / "cpu.cfs_period_us"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _ratio(*files: Path) -> float | None:
    """Return the ratio of the two numbers in some files; None where there is no file or no limit."""
    try:
        allowed, period = " ".join(file.read_text(encoding="ascii") for file in files).split()
    except (OSError, ValueError):
        return None
    return None if allowed in ("max", "-1") else float(allowed) / float(period)


def thread_count() -> int:
    """Return the number of threads: the one set by :func:`using_threads`, by default the available cores."""
    return _process.wanted or available_cores()


def wanted_threads() -> int | None:
    """Return the number set by :func:`using_threads`; None outside of such a block."""
    return _process.wanted


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Work with a number of threads inside a block, for the whole process; None changes nothing.

    Raises
    ------
    UserError
        If the number is not a whole number above 0.
    """
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise UserError(f"threads must be a whole number above 0, not {count!r}", hint="threads=4")
    before = _process.wanted
    _process.wanted = count or before
    try:
        yield
    finally:
        _process.wanted = before


def in_worker() -> bool:
    """Whether the current thread belongs to the pool: work that it starts must not wait for the pool."""
    return getattr(_own, "is_worker", False)


def shared_pool() -> ThreadPoolExecutor:
    """Return the pool of :func:`thread_count` threads."""
    count = thread_count()
    with _process.lock:
        if count not in _process.pools:
            _process.pools[count] = ThreadPoolExecutor(count, thread_name_prefix="images", initializer=_mark)
        return _process.pools[count]


def _mark() -> None:
    _own.is_worker = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forget)
