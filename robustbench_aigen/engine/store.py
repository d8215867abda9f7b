"""Atomic storage of finished shards."""

import json
import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.digests import DamagedFileError
from robustbench_aigen.engine.shards import Problem
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import atomic_file, discard, remove_leftovers, require_regular, writing
from robustbench_aigen.text import counted

_PROBLEMS, _KEY = b"robustbench_aigen.problems", b"robustbench_aigen.key"
_DIGEST = b"robustbench_aigen.sha256:"
_NO_DIGEST = b"0" * 64
_PAUSES = (0.5, 2.0, 8.0)
"""Seconds before a call to a storage service is tried again."""
T = TypeVar("T")
_STORE_HINT = "a folder, or a URL of fsspec such as s3://bucket/runs, with its library (pip install s3fs) and credentials"


class _Damage(NamedTuple):
    """A file of the cache that could not be used, and why."""

    file: Path
    reason: str


class ShardCache:
    """Finished shards by their content key, shared by all runs below one results folder.

    Every file holds its key and the sha256 of its bytes. A file that is not what was written is computed again.

    Parameters
    ----------
    folder
        Folder of the shards.
    fresh
        Whether to ignore existing files. Results are stored in any case.
    """

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._folder = folder
        self._stale: set[str] | None = set() if fresh else None
        self._damaged: dict[str, _Damage] = {}
        remove_leftovers(folder)

    @property
    def folder(self) -> Path | None:
        """The folder."""
        return self._folder

    def has(self, key: str) -> bool:
        """Whether a usable file of a shard exists."""
        if self._stale is not None and key not in self._stale:
            return False
        # Existing entries, even broken links, are checked when they are loaded.
        return os.path.lexists(self._file(key))

    def load(self, key: str) -> tuple[pd.DataFrame, list[Problem]] | None:
        """Return a shard's records and unreadable images, or None if the file is missing or damaged."""
        if not self.has(key):
            return None
        file = self._file(key)
        try:
            require_regular(file)
            return _parsed(key, file.read_bytes())
        except FileNotFoundError:
            return None  # Another run has just removed it.
        except (DamagedFileError, OSError) as error:
            self._damaged[key] = _Damage(file, str(error))
            return None

    def save(self, key: str, records: pd.DataFrame, problems: list[Problem]) -> None:
        """Store a shard, and replace an earlier file.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        file = self._file(key)
        with writing():
            if file.parent.is_file():
                discard(file.parent)
            with atomic_file(file, within=self._folder, own=True) as stream:
                stream.write(_encoded(key, records, problems))
        if self._stale is not None:
            self._stale.add(key)

    def note(self, keys: Iterable[str]) -> None:
        """Use the entries of these keys, which other processes of this run have stored."""
        if self._stale is not None:
            self._stale.update(keys)

    def notices(self) -> list[str]:
        """Return a line on damaged files, if any."""
        if not self._damaged:
            return []
        damages = list(self._damaged.values())
        first = f"{damages[0].file}: {damages[0].reason}"
        if len(damages) == 1:
            return [f"1 damaged file of the cache was computed again ({first})"]
        return [f"{len(damages)} damaged files of the cache were computed again (the first is {first})"]

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.parquet"


class MemoryCache:
    """Finished shards in memory, for a run without a results folder."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[pd.DataFrame, list[Problem]]] = {}

    @property
    def folder(self) -> Path | None:
        """There is no folder."""
        return None

    def has(self, key: str) -> bool:
        """Whether a shard is stored."""
        return key in self._held

    def load(self, key: str) -> tuple[pd.DataFrame, list[Problem]] | None:
        """Return a shard's records and unreadable images, or None."""
        return self._held.get(key)

    def save(self, key: str, records: pd.DataFrame, problems: list[Problem]) -> None:
        """Keep a shard."""
        self._held[key] = (records, problems)

    def note(self, keys: Iterable[str]) -> None:
        """Do nothing: no other process stores anything in this memory."""

    def notices(self) -> list[str]:
        """Nothing in memory is damaged."""
        return []


class RemoteStore:
    """Finished shards by their content key behind a URL of fsspec: ``s3://bucket/runs``, ``gs://…``, ``file:///…``.

    The files are those of :class:`ShardCache`. The names of existing files are listed once; entries of other processes
    are found through :meth:`note`, or by their names.

    Parameters
    ----------
    url
        The folder.
    fresh
        Whether to ignore existing files.

    Raises
    ------
    UserError
        If the protocol is unknown, its library is missing, or the store cannot be read.
    """

    folder: Path | None = None
    """There is no local folder."""

    def __init__(self, url: str, *, fresh: bool) -> None:
        import fsspec

        self.url, self._damaged = url, dict[str, str]()
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
            found = [] if fresh else self._system.find(self._root)
        except Exception as error:  # Libraries of storage services raise errors of their own.
            raise UserError(
                f"the store '{url}' cannot be read: {first_line(error)}", hint=_STORE_HINT
            ) from error
        self._known = {name.rpartition("/")[2].removesuffix(".parquet") for name in found}

    def has(self, key: str) -> bool:
        """Whether a shard is stored, as far as this process knows."""
        return key in self._known

    def load(self, key: str) -> tuple[pd.DataFrame, list[Problem]] | None:
        """Return a shard's records and unreadable images, or None if the file is missing or damaged."""
        if key not in self._known:
            return None
        try:
            return _parsed(key, _tried_again(lambda: self._system.cat_file(self._file(key))))
        except FileNotFoundError:
            return None  # Another run has just removed it.
        except (DamagedFileError, OSError) as error:
            self._damaged[key] = f"{self.url}/{key[:2]}/{key}.parquet: {error}"
            return None

    def save(self, key: str, records: pd.DataFrame, problems: list[Problem]) -> None:
        """Store a shard.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        content = _encoded(key, records, problems)

        def write() -> None:
            # Written whole by storage services. Half a file elsewhere is refused by its digest.
            self._system.makedirs(f"{self._root}/{key[:2]}", exist_ok=True)
            self._system.pipe_file(self._file(key), content)

        try:
            _tried_again(write)
        except Exception as error:  # Libraries of storage services raise errors of their own.
            raise UserError(
                f"the store '{self.url}' cannot be written: {first_line(error)}", hint=_STORE_HINT
            ) from error
        self._known.add(key)

    def note(self, keys: Iterable[str]) -> None:
        """Use the entries of these keys, which other processes of this run have stored."""
        self._known.update(keys)

    def notices(self) -> list[str]:
        """Return a line on damaged files, if any."""
        if not self._damaged:
            return []
        damages = list(self._damaged.values())
        return [
            f"{counted(len(damages), 'damaged file')} of the store: computed again (the first is {damages[0]})"
        ]

    def _file(self, key: str) -> str:
        return f"{self._root}/{key[:2]}/{key}.parquet"


Cache = ShardCache | MemoryCache | RemoteStore


def open_store(place: str | Path, *, fresh: bool) -> ShardCache | RemoteStore:
    """Return the finished shards in a folder, or behind a URL of fsspec."""
    if isinstance(place, str) and "://" in place:
        return RemoteStore(place.rstrip("/"), fresh=fresh)
    return ShardCache(Path(place), fresh=fresh)


def _tried_again(call: Callable[[], T]) -> T:
    """Return the result of a call to a storage service, which may fail for a while; a missing file is not tried again."""
    for pause in _PAUSES:
        try:
            return call()
        except FileNotFoundError:
            raise
        except Exception:  # noqa: BLE001  Libraries of storage services raise errors of their own.
            time.sleep(pause)
    return call()


def _encoded(key: str, records: pd.DataFrame, problems: list[Problem]) -> bytes:
    """Return a shard as Parquet, with the sha256 of all other bytes among its metadata."""
    table = pa.Table.from_pandas(records, preserve_index=False)
    said = {_PROBLEMS: json.dumps(problems), _KEY: key, b"robustbench_aigen.digest": _DIGEST + _NO_DIGEST}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **said})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    place = _place_of_digest(content)
    digest = sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def _parsed(key: str, content: bytes) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the shard that :func:`_encoded` encoded.

    Raises
    ------
    DamagedFileError
        If these are not the bytes that it returned.
    """
    place = _place_of_digest(content)
    end = place + len(_NO_DIGEST)
    hashed = sha256(content[:place])
    hashed.update(_NO_DIGEST)
    hashed.update(content[end:])
    if hashed.hexdigest().encode() != content[place:end]:
        raise DamagedFileError("the file was changed after it was written")
    try:
        table = pq.read_table(pa.BufferReader(content))
        metadata = table.schema.metadata
        problems = [Problem(*problem) for problem in json.loads(metadata[_PROBLEMS])]
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise DamagedFileError("the file cannot be read") from error
    if metadata[_KEY] != key.encode():
        raise DamagedFileError("the file belongs to another cell")
    return table.to_pandas(), problems


def _place_of_digest(content: bytes) -> int:
    """Return the position of the digest: metadata follow all columns and their statistics."""
    place = content.rfind(_DIGEST)
    if place < 0:
        raise DamagedFileError("the file has no digest")
    return place + len(_DIGEST)
