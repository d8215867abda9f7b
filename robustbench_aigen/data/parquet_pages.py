"""Unpacked sizes of the pages of a Parquet column, from their headers alone.

pyarrow unpacks a page as a whole, and its metadata know the sum of a column alone: what a compressed page holds is said
by its own header, in Thrift's compact protocol (Apache Parquet, ``parquet.thrift``).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow.parquet as pq

from robustbench_aigen.file_reading import RefusedFileError, opened_file

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 8
_RATIO = 20
_UNPACKED, _PACKED = 2, 3
"""Fields of a page's header."""


class PageSizes(NamedTuple):
    """Unpacked sizes of a column of a row group, in bytes.

    Parameters
    ----------
    largest
        The largest page; Parquet's own limit is 2 GiB.
    inflated
        The largest of the pages that unpack to more than 20 times their size; images are compressed themselves.
    total
        All pages.
    """

    largest: int
    inflated: int
    total: int


def page_sizes(file: Path, chunk: pq.ColumnChunkMetaData) -> PageSizes:
    """Return the sizes of the pages of one column of one row group.

    Raises
    ------
    RefusedFileError
        If the headers cannot be read.
    """
    begin = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
        begin = min(begin, chunk.dictionary_page_offset)
    end = begin + chunk.total_compressed_size
    largest = inflated = total = 0
    try:
        with opened_file(file) as stream:
            end = min(end, os.fstat(stream.fileno()).st_size)
            place = begin
            while place < end:
                stream.seek(place)
                header = _struct(stream)
                unpacked, packed = _whole(header, _UNPACKED), _whole(header, _PACKED)
                largest, total = max(largest, unpacked), total + unpacked
                if unpacked > _RATIO * packed:
                    inflated = max(inflated, unpacked)
                place = stream.tell() + packed
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedFileError(f"the pages of column '{chunk.path_in_schema}' are damaged") from error
    return PageSizes(largest, inflated, total)


def _whole(header: Mapping[int, object], field: int) -> int:
    value = header[field]
    if not isinstance(value, int) or value < 0:
        raise ValueError("no size")
    return value


def _struct(stream: BinaryIO, depth: int = 0) -> dict[int, object]:
    """Read a struct: whole numbers and structs by their field, of all else None."""
    if depth > _DEEPEST:
        raise ValueError("too deep")
    found: dict[int, object] = {}
    field = 0
    while (head := _byte(stream)) != 0:
        step, kind = head >> 4, head & 15
        field = field + step if step else _signed(_number(stream))
        found[field] = bool(kind == _TRUE) if kind in (_TRUE, _FALSE) else _value(stream, kind, depth)
    return found


def _value(stream: BinaryIO, kind: int, depth: int) -> object:
    if kind in (_TRUE, _FALSE, _BYTE):
        return _byte(stream)
    if kind in (_I16, _I32, _I64):
        return _signed(_number(stream))
    if kind == _DOUBLE:
        return stream.seek(8, os.SEEK_CUR) and None
    if kind == _BINARY:
        # A statistic, the smallest image of a page for example: none of it is read.
        return stream.seek(_number(stream), os.SEEK_CUR) and None
    if kind in (_LIST, _SET):
        head = _byte(stream)
        count = head >> 4 if head >> 4 < 15 else _number(stream)
        for _ in range(count):
            _value(stream, head & 15, depth + 1)
        return None
    if kind == _STRUCT:
        return _struct(stream, depth + 1)
    raise ValueError(f"no page has a field of kind {kind}")


def _byte(stream: BinaryIO) -> int:
    read = stream.read(1)
    if not read:
        raise ValueError("the header is cut off")
    return read[0]


def _number(stream: BinaryIO) -> int:
    number = shift = 0
    while True:
        byte = _byte(stream)
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number
        if shift > 63:
            raise ValueError("no number of Thrift")


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
