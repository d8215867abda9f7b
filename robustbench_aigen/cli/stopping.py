"""Signals that end a command: the work in progress is cleaned up, and one line says that it was stopped."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class StoppedError(BaseException):
    """A signal asked the process to end; like ``KeyboardInterrupt``, nothing but the command line catches it.

    Parameters
    ----------
    number
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number
        """Exit code of a process stopped by SIGTERM."""


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise :class:`StoppedError` where a signal asks the process to end, in a block.

    Signals ignored by the parent process, as with ``nohup``, stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> None:
    raise StoppedError(number)
