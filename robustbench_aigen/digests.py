"""Digests inside stored files, which reveal later changes.

A JSON document holds, under ``digests``, the digest of its own values and those of files that belong to it. Digests of
text do not depend on line endings, which git may change, and those of JSON do not depend on its layout.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from robustbench_aigen.files import require_regular

DIGESTS, _OWN = "digests", "values"
_TRAILER = b"\nsha256:"
_LENGTH = len(_TRAILER) + 64


class DamagedFileError(ValueError):
    """A stored file differs from the written file; the message says how."""


def digest_of_text(content: bytes) -> str:
    """Return the sha256 of a text file's content, independent of line endings."""
    return sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def digest_of_json(content: Mapping[str, Any], free: Sequence[tuple[str, ...]] = ()) -> str:
    """Return the sha256 of a document's values.

    Parameters
    ----------
    content
        The document, with the digests of other files; its own is left out.
    free
        Keys, from the outermost inwards, whose values may be edited.
    """
    values: Mapping[str, Any] = _without(content, (DIGESTS, _OWN))
    for keys in free:
        values = _without(values, keys)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def _without(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = keys
    inner = content.get(first)
    kept = {key: value for key, value in content.items() if key != first}
    return {**kept, first: _without(inner, tuple(rest))} if rest and isinstance(inner, Mapping) else kept


def sealed(
    content: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    free: Sequence[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Return a document with its digests.

    Parameters
    ----------
    content
        The document.
    files
        The digests of files that belong to it, by their names.
    free
        Keys, from the outermost inwards, whose values may be edited afterwards.
    """
    # As it will be read: keys become text, tuples become lists.
    content = {**json.loads(json.dumps(content)), DIGESTS: dict(files or {})}
    return {**content, DIGESTS: {_OWN: digest_of_json(content, free), **content[DIGESTS]}}


def unsealed(
    content: Mapping[str, Any], name: str, free: Sequence[tuple[str, ...]] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a document without its digests, and the digests of the files that belong to it.

    A document of an earlier version has no digests and is returned as it is. ``name`` is its file's, for the error.

    Raises
    ------
    DamagedFileError
        If the values are not those that were written.
    """
    values = {key: value for key, value in content.items() if key != DIGESTS}
    if DIGESTS not in content:
        return values, {}
    digests = content[DIGESTS]
    if not isinstance(digests, Mapping) or digests.get(_OWN) != digest_of_json(content, free):
        raise DamagedFileError(f"{name} was changed after it was written")
    return values, {key: str(value) for key, value in digests.items() if key != _OWN}


def read_sealed(file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a JSON document: its values, and the digests of the files that belong to it.

    Raises
    ------
    DamagedFileError
        If it cannot be read, is not JSON, or is not what was written.
    """
    try:
        require_regular(file)
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError(f"{file.name} cannot be read") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{file.name} is not a mapping")
    return unsealed(content, file.name)


def with_digest(content: bytes) -> bytes:
    """Return a binary file's content with its sha256 at the end."""
    return content + _TRAILER + sha256(content).hexdigest().encode()


def without_digest(content: bytes) -> bytes:
    """Return a binary file's content without the sha256 at its end; a file of an earlier version has none.

    Raises
    ------
    DamagedFileError
        If the content has another sha256.
    """
    if content[-_LENGTH : -_LENGTH + len(_TRAILER)] != _TRAILER:
        return content
    kept, digest = content[:-_LENGTH], content[-_LENGTH + len(_TRAILER) :]
    if sha256(kept).hexdigest().encode() != digest:
        raise DamagedFileError("the file was changed after it was written")
    return kept
