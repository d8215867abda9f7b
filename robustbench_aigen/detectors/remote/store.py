"""Stored answers of services, and the count of the queries sent to them.

An answer is in the file, on the disk, before it is used. A query is counted in the file before it is sent, in one
step with the comparison with the budget, so that no number of threads and processes exceeds the budget together. The
count survives the end of a process at any moment; a failure of power may lose the queries that were on their way.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from robustbench_aigen.errors import UserError

FILE = "answers.sqlite"
_PATIENCE = 60.0
"""Seconds that a process waits for another process to write."""
_PART = 500
"""Largest number of variables in one statement."""
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, image TEXT NOT NULL, answer TEXT NOT NULL,
    whole INTEGER NOT NULL, answered TEXT NOT NULL, UNIQUE (service, image));
CREATE TABLE IF NOT EXISTS queries (
    address TEXT PRIMARY KEY, sent INTEGER NOT NULL, answered INTEGER NOT NULL, failed INTEGER NOT NULL);
"""


class StoredAnswer(NamedTuple):
    """A stored answer.

    Parameters
    ----------
    text
        The JSON, without credentials.
    whole
        Whether the text is the whole answer; False where the text has only the score.
    answered
        When the answer arrived, as ISO text in UTC.
    """

    text: str
    whole: bool
    answered: str


class Queries(NamedTuple):
    """Numbers of queries to an address: sent, answered, and failed (an error instead of an answer)."""

    sent: int = 0
    answered: int = 0
    failed: int = 0

    @property
    def lost(self) -> int:
        """Queries whose answer never arrived, because the process was stopped; those on their way included."""
        return self.sent - self.answered - self.failed


class AnswerStore:
    """Answers and counts of queries in a file of SQLite, or in memory.

    Parameters
    ----------
    file
        The file, made if missing; None keeps everything in memory.

    Raises
    ------
    UserError
        If the file cannot be opened; so do all methods.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = RLock()
        self._process = os.getpid() if file is None else _OPENED.setdefault(file, os.getpid())
        self._copied: dict[tuple[Path | None, str], Queries] = {}
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"the folder '{file.parent}' cannot be made: {error.strerror}") from error
        with self._told():
            self._connection = sqlite3.connect(
                ":memory:" if file is None else str(file),
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_TABLES)

    def found(self, service: str, images: Sequence[str], after: int = 0) -> dict[str, StoredAnswer]:
        """Return the stored answers of a service to some images, by image; those up to number ``after`` are ignored."""
        found: dict[str, StoredAnswer] = {}
        with self._told():
            for first in range(0, len(images), _PART):
                part = images[first : first + _PART]
                marks = ",".join("?" * len(part))
                rows = self._connection.execute(
                    f"SELECT image, answer, whole, answered FROM answers WHERE service = ? AND number > ? AND image IN ({marks})",  # noqa: S608  Question marks alone.
                    (service, after, *part),
                )
                found |= {image: StoredAnswer(text, bool(whole), when) for image, text, whole, when in rows}
        return found

    def last(self) -> int:
        """Return the number of the newest answer; 0 without answers."""
        with self._told():
            return int(self._connection.execute("SELECT COALESCE(MAX(number), 0) FROM answers").fetchone()[0])

    def queries(self, address: str) -> Queries:
        """Return the counts of an address."""
        with self._told():
            row = self._connection.execute(
                "SELECT sent, answered, failed FROM queries WHERE address = ?", (address,)
            ).fetchone()
        return Queries() if row is None else Queries(*row)

    def reserve(self, address: str, limit: int | None) -> bool:
        """Count a query that is about to be sent, unless ``limit`` queries have been sent; return whether it was counted."""
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO queries VALUES (?, 0, 0, 0)", (address,))
            counted = self._connection.execute(
                "UPDATE queries SET sent = sent + 1 WHERE address = ? AND (? IS NULL OR sent < ?)",
                (address, limit, limit),
            )
            return counted.rowcount == 1

    def release(self, address: str) -> None:
        """Take back a query that never reached the service."""
        with self._transaction():
            self._connection.execute("UPDATE queries SET sent = sent - 1 WHERE address = ?", (address,))

    def fail(self, address: str) -> None:
        """Note that a query has no answer."""
        with self._transaction():
            self._connection.execute("UPDATE queries SET failed = failed + 1 WHERE address = ?", (address,))

    def note_answered(self, address: str) -> None:
        """Note that a query has an answer, which is not stored."""
        with self._transaction():
            self._connection.execute(
                "UPDATE queries SET answered = answered + 1 WHERE address = ?", (address,)
            )

    def keep(self, address: str, service: str, image: str, text: str, *, whole: bool) -> StoredAnswer:
        """Store the answer to a query, in place of an earlier answer, and return it."""
        answer = StoredAnswer(text, whole, datetime.now(UTC).isoformat(timespec="seconds"))
        with self._transaction(on_disk=True):
            self._connection.execute(
                "INSERT OR REPLACE INTO answers (service, image, answer, whole, answered) VALUES (?, ?, ?, ?, ?)",
                (service, image, *answer),
            )
            self._connection.execute(
                "UPDATE queries SET answered = answered + 1 WHERE address = ?", (address,)
            )
        return answer

    def receive(self, other: "AnswerStore", address: str, service: str) -> None:
        """Copy the answers of a service, and the counts of an address that have not been copied before."""
        with other._lock:  # noqa: SLF001  Its own class.
            rows = other._connection.execute(  # noqa: SLF001
                "SELECT service, image, answer, whole, answered FROM answers WHERE service = ?", (service,)
            ).fetchall()
            now, before = other.queries(address), other._copied.get((self.file, address), Queries())  # noqa: SLF001
            other._copied[self.file, address] = now  # noqa: SLF001
        more = [new - old for new, old in zip(now, before, strict=True)]
        with self._transaction():
            self._connection.executemany(
                "INSERT OR IGNORE INTO answers (service, image, answer, whole, answered) VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            self._connection.execute("INSERT OR IGNORE INTO queries VALUES (?, 0, 0, 0)", (address,))
            self._connection.execute(
                "UPDATE queries SET sent = sent + ?, answered = answered + ?, failed = failed + ? WHERE address = ?",
                (*more, address),
            )

    @contextmanager
    def _transaction(self, *, on_disk: bool = False) -> Iterator[None]:
        """Write in one step; ``on_disk`` waits for the disk, which takes some milliseconds.

        Without the wait, a transaction survives the end of the process, and not a failure of power.
        """
        with self._told():
            self._connection.execute(f"PRAGMA synchronous={'FULL' if on_disk else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Use the connection alone, and turn errors of SQLite into errors of the file.

        A forked process would believe to hold the locks of its parent, and write over the parent's counts.
        """
        if self._process != os.getpid():
            raise UserError(
                "the stored answers were opened before this process was forked",
                file=self.file,
                hint="start the process with the method 'spawn'",
            )
        with self._lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise UserError(
                    f"the stored answers cannot be used: {error}",
                    file=self.file,
                    hint="free space, or move the file away; without the file, every image is sent again",
                ) from error


_OPENED: dict[Path, int] = {}
"""The process that opened each file first, in this process or in one that it was forked from."""
_STORES: dict[Path | None, AnswerStore] = {}
_STORES_LOCK = RLock()


def store_in(folder: Path | None) -> AnswerStore:
    """Return the store of a folder, or of the memory of this process; each is opened once."""
    file = None if folder is None else folder.resolve() / FILE
    with _STORES_LOCK:
        held = _STORES.get(file)
        if held is None or (file is not None and not file.exists()):
            held = _STORES[file] = AnswerStore(file)
        return held
