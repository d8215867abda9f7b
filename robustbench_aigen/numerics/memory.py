"""Memory: a cache with a limit in bytes, and detection of out-of-memory errors."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

from robustbench_aigen.errors import UserError

T = TypeVar("T")

_REUSED = 2**23 - 2**16
"""Values in a batch, two images of 1,024 pixels a side: from 32 MiB on, the C library requests new memory
for every tensor, and filling new memory takes longer than the arithmetic."""


def batch_in_reused_memory(batch_size: int, values: int, device: torch.device) -> int:
    """Return the number of images per batch: on a CPU fewer if they are large, at least one.

    Parameters
    ----------
    batch_size
        Images at most.
    values
        Numbers in each image, 3·H·W.
    device
        The device of the computation.
    """
    return min(batch_size, max(1, _REUSED // max(1, values))) if device.type == "cpu" else batch_size


class BoundedCache(Generic[T]):
    """Keeps the most recently used values whose sizes add up to at most ``limit`` bytes.

    Parameters
    ----------
    limit
        Bytes. A value larger than that is not kept.
    size_of
        Returns the size of a value in bytes.
    """

    def __init__(self, limit: int, size_of: Callable[[T], int]) -> None:
        self._limit, self._size_of, self._used = limit, size_of, 0
        self._values: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of ``key``, made by ``make`` if it is not cached."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        size = self._size_of(value)
        if size <= self._limit:
            self._values[key] = value
            self._used += size
            while self._used > self._limit:
                _, oldest = self._values.popitem(last=False)
                self._used -= self._size_of(oldest)
        return value

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def clear(self) -> None:
        """Remove all values."""
        self._values.clear()
        self._used = 0


def within_memory(
    call: Callable[[int], T], batch_size: int, what: str, told: Callable[[str], None] = lambda _: None
) -> tuple[T, int]:
    """Return the result of a computation in batches that fit into memory, and their size.

    Parameters
    ----------
    call
        Computes in batches of at most the given number of images. It is called again with half the number if memory
        runs out.
    batch_size
        Number of images to begin with.
    what
        The name of the detector, for messages.
    told
        Called with a line for the user before each new try; optional.

    Raises
    ------
    UserError
        If there is not enough memory for a single image.
    """
    size = batch_size
    while True:
        try:
            return call(size), size
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise UserError(f"not enough memory for one image through {what} at a time") from error
        # Here the error of the failed try is released, and with it the memory of its frames.
        told(f"{what}: out of memory with batches of {size}; continuing with {size // 2}")
        size //= 2


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that a device, or this machine, had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator, and some of CUDA's libraries, raise a plain RuntimeError.
    told = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in told or "out of memory" in told.lower()
    )
