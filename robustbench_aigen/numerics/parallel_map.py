"""A map over a stream of items in threads, in order and with bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_CHUNK = 16
"""Items in one task: a task costs a third of the time of decoding an image of 32 pixels."""


def in_threads(work: Callable[[T], R], items: Iterable[T], chunk: int = _CHUNK) -> Iterator[R]:
    """Yield ``work(item)`` for every item, in order, computed by as many threads as there are cores.

    Items are taken in the caller's thread, so that a source is read from front to back; at most two chunks per thread
    are on their way; a chunk is of ``chunk`` items. Threads, not processes: Pillow decodes and hashes are computed without Python's lock, a process
    would have to be started with torch in it and would need a guarded ``__main__`` in the caller of :func:`run`.
    """
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="images") as pool:
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


def _each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    return [work(item) for item in items]
