"""The column chunks of a Parquet file, from its footer.

pyarrow returns a column chunk as well, and ends the process where the histogram of one does not fit its column
(``parquet::ParquetException``, which Python cannot catch; pyarrow 26).
"""

import io
import os
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.file_reading import RefusedFileError, opened_file
from robustbench_aigen.parquet.compact import Struct, read_struct, structs, whole

_END = 8
"""Bytes of the footer's length and of the magic number behind the footer."""
_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
_PATH, _PACKED, _DATA, _DICTIONARY, _STATISTICS = 3, 7, 9, 11, 12
_LARGEST, _SMALLEST = 5, 6
"""Fields of ``parquet.thrift``: of the file, a row group, a column chunk, its metadata, and statistics."""


class ColumnChunk(NamedTuple):
    """One column of one row group.

    Parameters
    ----------
    path
        The names of the column and of its nested fields, with a point between.
    begin, size
        Place of the first page in the file, and bytes of all pages as stored.
    smallest, largest
        The smallest and the largest value as stored; None without statistics.
    """

    path: str
    begin: int
    size: int
    smallest: bytes | None
    largest: bytes | None


def column_chunks(file: Path) -> list[list[ColumnChunk]]:
    """Return the column chunks of each row group.

    Raises
    ------
    RefusedFileError
        If the footer is damaged.
    """
    try:
        with opened_file(file) as stream:
            end = stream.seek(-_END, os.SEEK_END)
            length = int.from_bytes(stream.read(4), "little")
            stream.seek(max(0, end - length))
            footer = read_struct(io.BytesIO(stream.read(min(length, end))))
        groups = [structs(group, _COLUMNS) for group in structs(footer, _ROW_GROUPS)]
        return [[_chunk(column) for column in columns] for columns in groups]
    except (ValueError, OverflowError, OSError, RecursionError) as error:
        raise RefusedFileError(f"the footer is damaged: {error}") from error


def _chunk(column: Struct) -> ColumnChunk:
    metadata = column.get(_METADATA)
    if not isinstance(metadata, dict):
        raise ValueError("a column has no metadata")  # noqa: TRY004  Of a file, not of an argument.
    names = metadata.get(_PATH)
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ValueError("a column has no name")
    begin = whole(metadata, _DATA)
    if metadata.get(_DICTIONARY):  # Some writers have a zero for none.
        begin = min(begin, whole(metadata, _DICTIONARY))
    statistics = metadata.get(_STATISTICS)
    smallest, largest = (
        (statistics.get(field) for field in (_SMALLEST, _LARGEST))
        if isinstance(statistics, dict)
        else (None, None)
    )
    return ColumnChunk(
        b".".join(names).decode(),
        begin,
        whole(metadata, _PACKED),
        smallest if isinstance(smallest, bytes) else None,
        largest if isinstance(largest, bytes) else None,
    )
