"""The records of a run, one cell at a time: from memory, or from a file that is larger than memory.

A cell is a detector under a pipeline. A file of records has them one after the other, each in row groups of its own, so
that a cell is read alone. Summary, gate and report need one cell or two at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.parquet.footer import column_chunks
from robustbench_aigen.runs.records import typed
from robustbench_aigen.text import counted

CellKey = tuple[str, str]
"""Detector and pipeline."""
IMAGE = ("sample", "generator", "label", "sha256")
"""Columns of an image, the same in every cell."""
_GROUP = 2**16
"""Most rows in a row group: what is in memory at a time beside the columns of one cell."""
_HEX = frozenset("0123456789abcdef")
_DIGITS = 16
"""Digits of a sha256 that identify an image of a run."""


class Cells(Protocol):
    """Records by cell; every cell has the same images in the same order.

    The records of a cell have no ``detector``, ``pipeline`` or ``sample`` where they come from a file, and there ``sha256`` has whole
    numbers: equal for equal images, in the order of the hashes.
    """

    def __iter__(self) -> Iterator[CellKey]:
        """Yield detector and pipeline of each cell, in the order of the run."""
        ...

    def cell(self, detector: str, pipeline: str) -> pd.DataFrame:
        """Return the records of a cell."""
        ...

    def images(self) -> pd.DataFrame:
        """Return the columns :data:`IMAGE` of the first cell, hashes as text."""
        ...


class FrameCells:
    """Records in memory, by cell."""

    def __init__(self, records: Callable[[], pd.DataFrame]) -> None:
        self._records = records

    @cached_property
    def _parts(self) -> dict[CellKey, pd.DataFrame]:
        groups = self._records().groupby(["detector", "pipeline"], sort=False, observed=True)
        return {(str(detector), str(pipeline)): part for (detector, pipeline), part in groups}

    def __iter__(self) -> Iterator[CellKey]:
        yield from self._parts

    def cell(self, detector: str, pipeline: str) -> pd.DataFrame:
        """Return the records of a cell."""
        return self._parts[detector, pipeline]

    def images(self) -> pd.DataFrame:
        """Return the columns of the images."""
        return next(iter(self._parts.values()))[list(IMAGE)]


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    """Open the records of a run; what pyarrow says of a damaged part becomes a message.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    try:
        with pq.ParquetFile(file) as stored:
            yield stored
    except (pa.ArrowException, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise UserError(
            f"'{file.parent}' is damaged: {file.name}: {first_line(error)}",
            hint="restore the file, or run the scenario again, which reads the cache",
        ) from error


class StoredCells:
    """Records in a file, by cell.

    Parameters
    ----------
    file
        The file.
    groups
        The numbers of the row groups of each cell.
    dtypes
        The dtypes of the columns.
    """

    def __init__(
        self, file: Path, groups: Mapping[CellKey, Sequence[int]], dtypes: Mapping[str, str]
    ) -> None:
        self._file, self._groups = file, groups
        left_out = {"detector", "pipeline", *IMAGE}
        self._dtypes = {name: dtype for name, dtype in dtypes.items() if name not in left_out}

    def __iter__(self) -> Iterator[CellKey]:
        yield from self._groups

    def cell(self, detector: str, pipeline: str) -> pd.DataFrame:
        """Return the records of a cell."""
        labels, generators, codes = self._images
        with _opened(self._file) as stored:
            table = stored.read_row_groups(list(self._groups[detector, pipeline]), list(self._dtypes))
        frame = typed(table.to_pandas(split_blocks=True, self_destruct=True), self._dtypes)
        return frame.assign(label=labels, generator=generators, sha256=codes)

    def images(self) -> pd.DataFrame:
        """Return the columns of the images."""
        with _opened(self._file) as stored:
            first = next(iter(self._groups.values()))
            return stored.read_row_groups(list(first), list(IMAGE)).to_pandas()

    @cached_property
    def _images(self) -> tuple[NDArray[np.int8], pd.Categorical, NDArray[np.int64]]:
        """Labels, generators, and a code of each image; read in batches, because hashes as text are large."""
        labels, generators, hashes = [], [], []
        with _opened(self._file) as stored:
            first = list(next(iter(self._groups.values())))
            for batch in stored.iter_batches(
                _GROUP, row_groups=first, columns=["label", "generator", "sha256"]
            ):
                labels.append(batch.column("label").to_numpy(zero_copy_only=False).astype(np.int8))
                generators.append(pd.Categorical(batch.column("generator").to_pandas().astype(str)))
                hashes.append(hash_keys(batch.column("sha256").to_pylist()))
        named = pd.api.types.union_categoricals(generators)
        return np.concatenate(labels), named, image_codes(np.concatenate(hashes))


def hash_keys(hashes: Sequence[str | None]) -> NDArray[np.bytes_]:
    """Return a key of 16 bytes for each hash: its first 16 digits, which are in the order of the hashes.

    A text that is not a hash of hexadecimal digits gets the hash of the text as its key, no text an empty one.
    """
    keys = [_key(text) if text else b"" for text in hashes]
    return np.array(keys, dtype=f"S{_DIGITS}")


def _key(text: str) -> bytes:
    digits = text[:_DIGITS]
    is_hash = len(digits) == _DIGITS and _HEX.issuperset(digits)
    return digits.encode() if is_hash else blake2b(text.encode(), digest_size=_DIGITS).digest()


def image_codes(keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Return a number for each of N images by their keys: equal for equal keys, in their order.

    Images without a key are images of their own, after all others.
    """
    unknown = keys == b""
    if not unknown.any() and len(keys) < 2:
        return np.zeros(len(keys), np.int64)
    # Big-endian numbers are in the order of the bytes and sort much faster.
    halves = keys.view(">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    changes = np.zeros(len(keys), np.int64)
    changes[1:] = (halves[order][1:] != halves[order][:-1]).any(axis=1)
    codes = np.empty(len(keys), np.int64)
    codes[order] = changes.cumsum()
    codes[unknown] = len(keys) + np.arange(unknown.sum())
    return codes


def open_cells(
    file: Path, cells: Sequence[CellKey], images: int, dtypes: Mapping[str, str]
) -> StoredCells | None:
    """Return the records in a file by cell; None if a row group has records of several cells, or a column is missing.

    Raises
    ------
    ValueError
        If the file has other cells, or a cell has another number of images.
    """
    with pq.ParquetFile(file) as stored:
        footer = stored.metadata
        places = {footer.schema.column(place).path: place for place in range(footer.num_columns)}
        if not set(dtypes) <= set(places):
            return None
        groups: dict[CellKey, list[int]] = {}
        rows: dict[CellKey, int] = {}
        for number, chunks in enumerate(column_chunks(file)):
            key = []
            for name in ("detector", "pipeline"):
                chunk = chunks[places[name]]
                if chunk.smallest is None or chunk.smallest != chunk.largest:
                    return None
                key.append(chunk.smallest.decode())
            groups.setdefault((key[0], key[1]), []).append(number)
            count = footer.row_group(number).num_rows
            rows[key[0], key[1]] = rows.get((key[0], key[1]), 0) + count
    if list(groups) != list(cells) or any(
        second != first + 1 for own in groups.values() for first, second in pairwise(own)
    ):
        raise ValueError("the cells are others, or in another order")
    for cell, count in rows.items():
        if count != images:
            raise ValueError(f"expected {counted(images, 'row')} of {' · '.join(cell)}, found {count}")
    return StoredCells(file, groups, dtypes)


def write_cells(stream: BinaryIO, frames: Iterable[pd.DataFrame], **options: object) -> None:
    """Write records as Parquet: each row group has the records of one cell, so that a cell can be read alone.

    Parameters
    ----------
    stream
        The file.
    frames
        Records in the order of the cells, in any parts; nothing else is in memory at a time.
    options
        Of :class:`pyarrow.parquet.ParquetWriter`.
    """
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    key: tuple[object, object] | None = None
    schema: pa.Schema | None = None

    def flush() -> None:
        nonlocal writer
        table = pa.concat_tables(waiting)
        writer = writer or pq.ParquetWriter(stream, table.schema, **options)
        writer.write_table(table, row_group_size=_GROUP)
        waiting.clear()

    for frame in frames:
        for part_key, part in frame.groupby(["detector", "pipeline"], sort=False, observed=True):
            if waiting and (part_key != key or sum(map(len, waiting)) + len(part) > _GROUP):
                flush()
            key = part_key
            table = pa.Table.from_pandas(part, schema=schema, preserve_index=False)
            schema = table.schema
            waiting.append(table)
        if schema is None:
            schema = pa.Schema.from_pandas(frame, preserve_index=False)
    if waiting:
        flush()
    if writer is None:
        assert schema is not None
        writer = pq.ParquetWriter(stream, schema, **options)
    writer.close()
