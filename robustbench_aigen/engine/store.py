"""Files that are whole or not there: finished shards, and the run folder."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
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

    def load(self, key: str) -> tuple[pd.DataFrame, list[Problem]] | None:
        """Return a shard's records and unreadable images, or None where they are not there whole."""
        file = self._file(key)
        if not file.is_file() or (self._stale is not None and key not in self._stale):
            return None
        try:
            table = pq.read_table(file)
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


def new_run_id(folder: Path) -> str:
    """Return a run id, the UTC time, that is not taken in ``folder``."""
    stem = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name, number = stem, 1
    while (folder / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


@contextmanager
def run_folder(parent: Path, run_id: str) -> Iterator[Path]:
    """Give a folder to fill, which becomes ``parent/run_id`` when the block ends without an error.

    ``parent/latest`` then points at it. After an error nothing of it is left.
    """
    with writing():
        parent.mkdir(parents=True, exist_ok=True)
        partial = parent / f"{_PARTIAL}{run_id}-{os.getpid()}"
        partial.mkdir()
        try:
            yield partial
            partial.rename(parent / run_id)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        link = parent / f".latest-{os.getpid()}"
        link.symlink_to(run_id, target_is_directory=True)
        link.replace(parent / "latest")
