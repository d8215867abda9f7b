"""Python's garbage collector: paused while a command imports its modules, and at work when the command works.

Modules make hundreds of thousands of objects that live as long as the process. Going through them again and again
during imports, and again at the end of the process, takes half as long as the imports themselves.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the collector in a block, until :func:`resume_collector`; afterwards it is as it was before."""
    was_enabled = gc.isenabled()
    gc.disable()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def resume_collector() -> None:
    """Resume the collector if it is paused; existing objects are left out."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
