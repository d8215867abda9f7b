"""Reads structs in Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages."""

import os
from typing import BinaryIO

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEEPEST = 12
_LONGEST = 4096
"""Bytes of a text that is returned; pyarrow writes no longer statistics."""

Struct = dict[int, object]
"""The values of a struct by field: whole numbers, booleans, bytes, lists and structs."""


def read_struct(stream: BinaryIO, depth: int = 0) -> Struct:
    """Read a struct from a stream; numbers with a point, and texts of more than 4 KiB, are None.

    Raises
    ------
    ValueError
        If the bytes are not a struct.
    """
    if depth > _DEEPEST:
        raise ValueError("too deep")
    found: Struct = {}
    field = 0
    while (head := _byte(stream)) != 0:
        step, kind = head >> 4, head & 15
        field = field + step if step else _signed(_number(stream))
        found[field] = bool(kind == _TRUE) if kind in (_TRUE, _FALSE) else _value(stream, kind, depth)
    return found


def whole(struct: Struct, field: int) -> int:
    """Return a whole number that is not negative.

    Raises
    ------
    ValueError
        If the field is missing or something else.
    """
    value = struct.get(field)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"field {field} is not a size")
    return value


def structs(struct: Struct, field: int) -> list[Struct]:
    """Return a list of structs.

    Raises
    ------
    ValueError
        If the field is missing or something else.
    """
    values = struct.get(field)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"field {field} is not a list of structs")
    return values


def _value(stream: BinaryIO, kind: int, depth: int) -> object:
    if kind in (_TRUE, _FALSE, _BYTE):
        return _byte(stream)
    if kind in (_I16, _I32, _I64):
        return _signed(_number(stream))
    if kind == _DOUBLE:
        return stream.seek(8, os.SEEK_CUR) and None
    if kind == _BINARY:
        # A statistic may be an image, and a damaged length beyond the end of the file.
        length = _number(stream)
        return stream.read(length) if length <= _LONGEST else stream.seek(length, os.SEEK_CUR) and None
    if kind in (_LIST, _SET):
        head = _byte(stream)
        count = head >> 4 if head >> 4 < 15 else _number(stream)
        return [_value(stream, head & 15, depth + 1) for _ in range(count)]
    if kind == _STRUCT:
        return read_struct(stream, depth + 1)
    raise ValueError(f"Parquet has no field of kind {kind}")


def _byte(stream: BinaryIO) -> int:
    read = stream.read(1)
    if not read:
        raise ValueError("cut off")
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
            raise ValueError("not a number of Thrift")


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
