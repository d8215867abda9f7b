"""A map over a stream of items in the shared threads, in order and with bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice
from typing import TypeVar

from robustbench_aigen.numerics.threads import in_worker, shared_pool, thread_count

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 16
"""Items in one task: a task costs a third of the time of decoding an image of 32 pixels."""


def in_threads(work: Callable[[T], R], items: Iterable[T], chunk: int = _CHUNK) -> Iterator[R]:
    """Yield ``work(item)`` for every item, in order, computed by the threads of the process.

    Items are taken in the caller's thread, so that a source is read from front to back; at most two chunks per thread
    are on their way; a chunk is of ``chunk`` items. Threads, not processes: Pillow and SciPy compute without Python's lock, a process
    would have to be started with torch in it and would need a guarded ``__main__`` in the caller of :func:`run`.
    """
    workers = thread_count()
    if workers == 1 or in_worker():
        yield from map(work, items)
        return
    pool = shared_pool()
    pending: deque[Future[list[R]]] = deque()
    try:
        remaining = iter(items)
        while part := tuple(islice(remaining, chunk)):
            pending.append(pool.submit(_each, work, part))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        wait(pending)


def _each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    return [work(item) for item in items]
