"""Files that are whole or not there: finished shards, and the run folder."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.engine.shards import Problem
from robustbench_aigen.errors import UserError

_PROBLEMS = b"robustbench_aigen.problems"
_PARTIAL = ".partial-"


@contextmanager
def writing() -> Iterator[None]:
    """Turn the operating system's refusal to write results into the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write results: {error}", hint="choose another folder with --output"
        ) from error


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it into place.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with writing():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)


class ShardCache:
    """Finished shards by their content key, shared by all runs below one results folder.

    Parameters
    ----------
    folder
        Where they are.
    fresh
        Whether to ignore what is there. What is computed is stored all the same.
    """

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._folder = folder
        self._stale: set[str] | None = set() if fresh else None

    def has(self, key: str) -> bool:
        """Whether there is a file that may be used for a shard."""
        return self._file(key).is_file() and (self._stale is None or key in self._stale)

    def load(self, key: str) -> tuple[pd.DataFrame, list[Problem]] | None:
        """Return a shard's records and unreadable images, or None where they are not there whole."""
        if not self.has(key):
            return None
        try:
            table = pq.read_table(self._file(key))
        except (pa.ArrowException, OSError):
            # Written by rename, so this is a damaged disk or another program's file: compute it again.
            return None
        problems = json.loads((table.schema.metadata or {}).get(_PROBLEMS, b"[]"))
        return table.to_pandas(), [Problem(*problem) for problem in problems]

    def save(self, key: str, records: pd.DataFrame, problems: list[Problem]) -> None:
        """Store a shard."""
        table = pa.Table.from_pandas(records, preserve_index=False)
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _PROBLEMS: json.dumps(problems)}
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_atomically(self._file(key), sink.getvalue().to_pybytes())
        if self._stale is not None:
            self._stale.add(key)

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.parquet"


@contextmanager
def run_folder(parent: Path) -> Iterator[tuple[str, Path]]:
    """Give a run id, the UTC time, and a folder to fill, which becomes ``parent/<run id>`` when the block ends.

    ``parent/latest`` then points at it. After an error nothing of it is left. Runs that end at the same time get
    ids of their own.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with writing():
        parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(parent)
        run_id, partial = _reserve(parent)
        try:
            yield run_id, partial
            partial.rename(parent / run_id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        link = parent / f".latest-{run_id}"
        link.symlink_to(run_id, target_is_directory=True)
        link.replace(parent / "latest")


def _reserve(parent: Path) -> tuple[str, Path]:
    """Make the folder of a run in progress, under an id that nobody has or will get."""
    stem = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        run_id = stem if number == 1 else f"{stem}-{number}"
        partial = parent / f"{_PARTIAL}{run_id}"
        try:
            partial.mkdir()
        except FileExistsError:
            continue
        # Whoever had the id before has renamed his folder by now, or it would still be in the way.
        if not (parent / run_id).exists():
            return run_id, partial
        partial.rmdir()
    raise AssertionError("count does not end")


def _remove_leftovers(parent: Path) -> None:
    """Remove what a killed run left while it was writing, which takes seconds: after an hour nobody is."""
    for partial in parent.glob(f"{_PARTIAL}*"):
        try:
            age = time.time() - partial.stat().st_mtime
        except FileNotFoundError:
            continue  # Another run has just become whole.
        if age > 3600:
            shutil.rmtree(partial, ignore_errors=True)
