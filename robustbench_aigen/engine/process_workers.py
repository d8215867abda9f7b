"""Workers in processes of this machine, one for each device or core."""

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from robustbench_aigen.engine.distribution import Finished
from robustbench_aigen.engine.worker import Assignment, ShardJob, Worker
from robustbench_aigen.text import counted


class ProcessWorkers:
    """A process for each of some devices.

    Each process has an executor of its own. So a process that ends, for lack of memory for instance, takes one job
    with it, and is started again.

    Parameters
    ----------
    assignment
        The experiment.
    devices
        Devices such as ``cuda:0``; a device that is named twice gets two processes.
    """

    def __init__(self, assignment: Assignment, devices: Sequence[str]) -> None:
        self._assignment, self._devices = assignment, tuple(devices)
        # Spawned: a fork would copy the threads and the CUDA context of this process.
        self._context = multiprocessing.get_context("spawn")
        self._executors = [self._start(device) for device in self._devices]
        self._running: dict[Future[float], tuple[ShardJob, int]] = {}

    @property
    def slots(self) -> int:
        """A job for each process."""
        return len(self._devices)

    def submit(self, job: ShardJob) -> None:
        """Start a job in a process without one."""
        busy = {place for _, place in self._running.values()}
        place = next(number for number in range(len(self._executors)) if number not in busy)
        try:
            future = self._executors[place].submit(_compute, job)
        except BrokenProcessPool:
            self._executors[place] = self._start(self._devices[place])
            future = self._executors[place].submit(_compute, job)
        self._running[future] = job, place

    def wait(self) -> Sequence[Finished]:
        """Wait until at least one job has ended."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        return [self._ended(future) for future in done]

    def close(self) -> None:
        """End the processes."""
        for executor in self._executors:
            for process in list((executor._processes or {}).values()):  # noqa: SLF001  Python 3.14 has kill_workers.
                process.terminate()
            executor.shutdown(wait=False, cancel_futures=True)

    def described(self) -> str:
        """Return the number of processes and the kinds of devices."""
        kinds = ", ".join(dict.fromkeys(self._devices))
        return f"{counted(len(self._devices), 'process', 'processes')} ({kinds})"

    def _ended(self, future: "Future[float]") -> Finished:
        job, place = self._running.pop(future)
        error = future.exception()
        if error is None:
            return Finished(job, future.result())
        if isinstance(error, BrokenProcessPool):
            self._executors[place].shutdown(wait=False)
            self._executors[place] = self._start(self._devices[place])
        if not isinstance(error, Exception):
            raise error
        return Finished(job, error=error, is_lost=isinstance(error, BrokenProcessPool))

    def _start(self, device: str) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_begin, initargs=(self._assignment, device)
        )


_given: list[tuple[Assignment, str]] = []
_made: list[Worker] = []


def _begin(assignment: Assignment, device: str) -> None:
    _given[:] = [(assignment, device)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the command that started the process is killed: its queue never ends by itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _compute(job: ShardJob) -> float:
    """Compute a job in this process; an error in loading then reaches the caller with its message."""
    if not _made:
        _made.append(Worker(*_given[0]))
    return _made[0].compute(job)
