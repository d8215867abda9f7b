"""Times of requests: a rate limit, pauses that a service requests, and waits before further requests."""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Lock

_LONGEST_BACK_OFF = 60.0


class Stopped(Exception):  # noqa: N818  No error: other requests have failed, or the user has stopped the run.
    """The wait was ended before its time."""


class RateLimit:
    """Slots for requests, at most ``rate`` per second; all threads of a service share them.

    Parameters
    ----------
    rate
        Requests per second; None without a limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._next = self._paused_until = 0.0
        self._lock = Lock()

    def wait(self, stop: Event) -> None:
        """Wait for the next slot.

        Raises
        ------
        Stopped
            If ``stop`` is set meanwhile.
        """
        with self._lock:
            slot = max(time.monotonic(), self._next)
            self._next = slot + self._interval
        while True:
            sleep(slot - time.monotonic(), stop)
            with self._lock:
                if slot >= self._paused_until:
                    return
                # Another thread was told to pause after this slot was given.
                slot = max(self._paused_until, self._next)
                self._next = slot + self._interval

    def pause(self, seconds: float) -> None:
        """Give no slot for some seconds."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)


def sleep(seconds: float, stop: Event) -> None:
    """Sleep, unless ``stop`` is set meanwhile.

    Raises
    ------
    Stopped
        If it is set.
    """
    if stop.wait(max(0.0, seconds)):
        raise Stopped


def back_off(first: float, attempt: int) -> float:
    """Return the seconds before a further request: doubled each time, and up to a quarter longer by chance.

    Threads that failed together do not come back together. ``attempt`` counts from 0.
    """
    # Not the global generator, which belongs to the attacks.
    jitter = 1 + _RANDOM.random() / 4
    return float(min(first * 2.0**attempt, _LONGEST_BACK_OFF) * jitter)


_RANDOM = random.Random()  # noqa: S311  Not for cryptography.


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a header ``Retry-After``, a number or a date; None without a readable header."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
