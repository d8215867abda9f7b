"""Images in cells of a table: bytes, text, numbers, or the path of a file."""

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from robustbench_aigen.data.image_files import SUFFIXES
from robustbench_aigen.file_reading import RefusedFileError, located_file, read_file, refuse_size
from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image

_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{32,}={0,2}\s*")
_LOOKED_AT = 4096
"""Letters of a text that decide between base64 and a path."""
_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


def encoded_image(value: pa.Scalar, folders: Sequence[Path]) -> bytes:
    """Return the encoded image of a cell.

    Parameters
    ----------
    value
        Binary, text (a path, base64 or a data URI), a list of numbers from 0 to 255, or a struct with ``bytes`` in
        one of these forms and the ``path`` that is read where it has no bytes.
    folders
        The folders that relative paths may start at, in order.

    Raises
    ------
    OSError
        If there is no image, or it is too large.
    """
    value = _plain(value)
    if not value.is_valid:
        return b""
    if isinstance(value, pa.StructScalar):
        fields = [field.name for field in value.type]
        encoded = encoded_image(value["bytes"], folders) if "bytes" in fields else b""
        path = value["path"].as_py() if "path" in fields else None
        return encoded or (read_file(located_file(path, folders)) if path else b"")
    if isinstance(value, pa.ListScalar):
        numbers = value.values
        refuse_size(len(numbers))
        try:
            return bytes(numbers.to_pylist())
        except (TypeError, ValueError):
            raise RefusedFileError("a list of numbers that are not bytes") from None
    content = value.as_buffer()
    if content is None or not isinstance(value, pa.BinaryScalar | pa.StringScalar):
        return b""
    if not _is_text(value):
        refuse_size(content.size)
        return content.to_pybytes()
    refuse_size(content.size * 3 // 4)
    text = value.as_py()
    return _from_base64(text) if _is_base64(text) else read_file(located_file(text, folders))


def path_in(value: pa.Scalar) -> str | None:
    """Return the path that a cell of text holds, None where the text is an image itself."""
    value = _plain(value)
    return None if not value.is_valid or _is_base64(value.as_py()) else str(value.as_py())


def is_image(value: pa.Scalar, folders: Sequence[Path]) -> bool:
    """Whether a cell of text or numbers holds an image, or names an existing file or a path of an image."""
    if _is_text(_plain(value)) and (path := path_in(value)) is not None and _is_called_image(path):
        return True
    try:
        with opened_image(encoded_image(value, folders)):
            return True
    except (UnreadableImageError, OSError):
        return False


def _plain(value: pa.Scalar) -> pa.Scalar:
    while isinstance(value, pa.DictionaryScalar | pa.ExtensionScalar) and value.is_valid:
        value = value.value
    return value


def _is_text(value: pa.Scalar) -> bool:
    return isinstance(value, pa.StringScalar)


def _is_called_image(path: str) -> bool:
    return Path(path.strip().lower()).suffix in SUFFIXES


def _is_base64(text: str) -> bool:
    if _DATA_URI.match(text):
        return True
    # The path of many folders without a suffix is made of the same letters, and seldom of a multiple of four.
    start = text[:_LOOKED_AT]
    return len("".join(text.split())) % 4 == 0 and _BASE64.fullmatch(start) is not None


def _from_base64(text: str) -> bytes:
    start = _DATA_URI.match(text)
    plain = "".join(text[start.end() if start else 0 :].split()).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise RefusedFileError(f"not base64: {error}") from error
