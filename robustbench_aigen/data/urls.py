"""Images behind a URL of fsspec (``s3://``, ``gs://``, ``file://``): copied once into a local cache, and then read there."""

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import atomic_file, writing

_FORM = re.compile(r"(?!hf://)[a-z][a-z0-9+.-]*://.+", re.IGNORECASE)
_INDEX = "index.json"
_STATE = ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created")
"""What storage services say of a version of a file; the first that is there is used."""


def is_url(source: str) -> bool:
    """Whether a source is behind a URL; ``hf://`` names a data set of the hub."""
    return _FORM.fullmatch(source) is not None


def fetch_url(url: str) -> Path:
    """Copy a folder or file into the cache, or bring an earlier copy up to date, and return its path.

    Only files that are new or changed since the last copy are read. The cache is the folder ``robustbench_aigen/data``
    of ``XDG_CACHE_HOME``, by default of ``~/.cache``.

    Raises
    ------
    UserError
        If the protocol is unknown, its library is missing, or the files cannot be read.
    """
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
        found = system.find(root, detail=True)
    except Exception as error:  # Libraries of storage services raise errors of their own.
        raise UserError(
            f"'{url}' cannot be read: {first_line(error)}",
            hint="check the URL, its library (pip install s3fs, gcsfs) and the credentials",
        ) from error
    if not found:
        raise UserError(f"there is no file at '{url}'")
    if system.protocol == "file" or "file" in system.protocol:
        return Path(root)
    folder = _cache() / sha256(url.encode()).hexdigest()[:16]
    with writing("the local copy of the images"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            return _updated(system, root, found, folder)


def is_fetched(url: str) -> bool:
    """Whether a source can be opened without a copy over the network; this check uses no network."""
    return (
        url.lower().startswith("file://")
        or (_cache() / sha256(url.encode()).hexdigest()[:16] / _INDEX).is_file()
    )


def _updated(system: Any, root: str, found: dict[str, dict[str, Any]], folder: Path) -> Path:
    """Make a local folder equal to the files behind a URL, and return the copy of its root."""
    index = folder / _INDEX
    known: dict[str, list[object]] = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    top = Path(root.rstrip("/").rpartition("/")[2])
    state = {_below(root, name, top): [info.get("size"), _version(info)] for name, info in found.items()}
    index.unlink(missing_ok=True)  # While files change, the copy counts as incomplete.
    for name, path in zip(found, state, strict=True):
        target = folder / "files" / path
        if known.get(path) == state[path] and target.is_file():
            continue
        with atomic_file(target, within=folder) as stream:
            stream.write(system.cat_file(name))
    for path in known.keys() - state.keys():
        (folder / "files" / path).unlink(missing_ok=True)
    with atomic_file(index) as stream:
        stream.write(json.dumps(state).encode())
    return folder / "files" / top


def _below(root: str, name: str, top: Path) -> str:
    """Return the path of a file in the copy; a name may not leave the folder."""
    below = name[len(root.rstrip("/")) :].lstrip("/")
    parts = [part for part in below.split("/") if part]
    if ".." in parts:
        raise UserError(f"'{name}' has '..' in its path")
    return str(top.joinpath(*parts))


def _version(info: dict[str, Any]) -> str:
    return next((str(info[name]) for name in _STATE if info.get(name) is not None), "")


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "robustbench_aigen" / "data"
