"""Unpacked sizes of the pages of a Parquet column, from their headers alone.

pyarrow unpacks a page as a whole, and its metadata know the sum of a column alone: the header of a compressed page says
how many bytes the page unpacks to (Apache Parquet, ``parquet.thrift``).
"""

import os
from pathlib import Path
from typing import NamedTuple

from robustbench_aigen.file_reading import RefusedFileError, opened_file
from robustbench_aigen.parquet.compact import read_struct, whole
from robustbench_aigen.parquet.footer import ColumnChunk

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


def page_sizes(file: Path, chunk: ColumnChunk) -> PageSizes:
    """Return the sizes of the pages of one column of one row group.

    Raises
    ------
    RefusedFileError
        If the headers cannot be read.
    """
    largest = inflated = total = 0
    try:
        with opened_file(file) as stream:
            end = min(chunk.begin + chunk.size, os.fstat(stream.fileno()).st_size)
            place = chunk.begin
            while place < end:
                stream.seek(place)
                header = read_struct(stream)
                unpacked, packed = whole(header, _UNPACKED), whole(header, _PACKED)
                largest, total = max(largest, unpacked), total + unpacked
                if unpacked > _RATIO * packed:
                    inflated = max(inflated, unpacked)
                place = stream.tell() + packed
    except (ValueError, OverflowError, RecursionError) as error:
        raise RefusedFileError(f"the pages of column '{chunk.path}' are damaged") from error
    return PageSizes(largest, inflated, total)
