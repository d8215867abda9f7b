"""Data sets on the Hugging Face hub, fetched once and then read from its cache like a local folder."""

import re
from importlib.util import find_spec
from pathlib import Path

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library

PREFIX = "hf://"
_FORM = re.compile(
    r"hf://(?:datasets/)?(?P<id>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/]+))?(?:/(?P<folder>.+?))?/?"
)
_COPY = "pass a local copy with --data FOLDER"
_KINDS = ("parquet", "arrow", "csv", "tar", "jpg", "jpeg", "png", "webp", "JPG", "JPEG", "PNG")


def is_here(reference: str) -> bool:
    """Whether a data set can be opened without a download; this check uses no network.

    Opening reports an invalid reference.
    """
    parts = _FORM.fullmatch(reference)
    if parts is None:
        return True
    if find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(parts["id"], repo_type="dataset", revision=parts["revision"], local_files_only=True)
    except LocalEntryNotFoundError:
        return False
    return True


def fetch(reference: str) -> Path:
    """Download a data set, or find it in the hub's own cache, and return its folder.

    Parameters
    ----------
    reference
        ``hf://org/name``, ``hf://org/name@revision``, and after either a folder or a file in it.

    Raises
    ------
    UserError
        If the reference is not of that form, there is no such data set, or it cannot be reached.
    """
    parts = _FORM.fullmatch(reference)
    if parts is None:
        raise UserError(
            f"'{reference}' is not a data set of the hub", hint="write hf://org/name, or hf://org/name/folder"
        )
    import_library("huggingface_hub", extra="hub", what=reference)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    folder = parts["folder"]
    patterns = [f"{folder}/**.{kind}" if folder else f"**.{kind}" for kind in _KINDS]
    patterns += ["README.md", *([folder] if folder else [])]
    try:
        root = snapshot_download(
            parts["id"], repo_type="dataset", revision=parts["revision"], allow_patterns=patterns
        )
    except RepositoryNotFoundError:
        raise UserError(
            f"the hub has no data set '{parts['id']}', or you have no access",
            hint="log in with 'hf auth login' if the data set is private or gated",
        ) from None
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"'{reference}' cannot be downloaded, and the cache has no copy: {first_line(error)}", hint=_COPY
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"'{reference}' cannot be downloaded: {first_line(error)}", hint=_COPY) from error
    found = Path(root) / folder if folder else Path(root)
    if not found.exists():
        raise UserError(f"the data set '{parts['id']}' has no '{folder}'")
    return found
