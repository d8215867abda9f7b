"""Exported adversarial sets: the attacked images of a run with a manifest, checked against their hashes."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_aigen.csv_text import unguarded
from robustbench_aigen.data.columns import meaning_of
from robustbench_aigen.data.layout import layout
from robustbench_aigen.data.layouts.manifest import ManifestSource
from robustbench_aigen.digests import DamagedFileError, digest_of_text, read_sealed
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.files import is_regular, sha256_of_file, stays_inside
from robustbench_aigen.scenario.data_spec import SourceSpec

EXPORT, MANIFEST = "export.json", "manifest.csv"
FORMAT = 1
"""Version of the files of an exported set."""


class ExportedSet(NamedTuple):
    """The description and the manifest of an exported set.

    ``content`` is ``export.json``; ``rows`` are the lines of the manifest by column.
    """

    folder: Path
    content: dict[str, Any]
    rows: list[dict[str, str]]

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Folder of the images, detector and pipeline of each exported cell."""
        return list(self.content["cells"])


def is_exported(path: Path) -> bool:
    """Whether a path is the folder of an exported set."""
    try:
        return (path / EXPORT).is_file()
    except OSError:
        # A name that is too long for the file system: opening the scenario names the error.
        return False


def read_exported(folder: Path) -> ExportedSet:
    """Read an exported set and check every file against the manifest.

    Raises
    ------
    UserError
        If the description or the manifest was changed, or an image is missing, changed or not listed.
    """
    try:
        content, digests = read_sealed(folder / EXPORT)
        written = (folder / MANIFEST).read_bytes()
    except DamagedFileError as error:
        raise _damaged(folder, str(error)) from error
    except OSError as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read: {error.strerror}") from error
    if content.get("format") != FORMAT:
        raise UserError(
            f"the exported set '{folder}' has format {content.get('format')}, and this version reads {FORMAT}",
            hint="update robust-aigen",
        )
    cells = content.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise _damaged(folder, f"{EXPORT} has no list of cells")
    if digest_of_text(written) != digests.get(MANIFEST):
        raise _damaged(folder, f"{MANIFEST} was changed after the export")
    try:
        lines = csv.DictReader(written.decode("utf-8").splitlines(), strict=True)
        rows = [{name: unguarded(value) for name, value in row.items()} for row in lines]
        listed = {row["path"]: row["sha256"] for row in rows}
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{MANIFEST} is not a table with path and sha256") from error
    _check_files(folder, listed)
    return ExportedSet(folder, content, rows)


def _check_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Raise UserError unless the images of a set are those of the manifest, with its hashes."""
    for name, digest in digests.items():
        if not stays_inside(name):
            raise _damaged(folder, f"{shortened(name)} is outside its folder")
        if not is_regular(folder / name):
            raise _damaged(folder, f"{shortened(name)} is missing")
        if sha256_of_file(folder / name) != digest:
            raise _damaged(folder, f"{name} is another file than the one exported")
    for file in sorted((folder / "images").rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in digests:
            raise _damaged(folder, f"{name} is not listed")


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(
        f"the exported set '{folder}' does not fit its manifest: {reason}",
        hint="copy the set again, or export the run again into a new folder",
    )


class ExportedSource(ManifestSource):
    """The images of an exported set.

    Attributes
    ----------
    cells
        Folder, detector and pipeline of each exported cell.
    """

    def __init__(self, exported: ExportedSet, spec: SourceSpec) -> None:
        super().__init__(exported.folder / MANIFEST, meaning_of(spec))
        self.name, self.layout = exported.folder.name, "an exported adversarial set"
        self.cells = exported.cells


def _why(path: Path) -> str | None:
    return "an exported set" if is_exported(path) else None


@layout("exported", recognise=_why, order=0)
def open_exported(path: Path, spec: SourceSpec) -> ExportedSource:
    """Open an exported set.

    Raises
    ------
    UserError
        As :func:`read_exported` does.
    """
    return ExportedSource(read_exported(path), spec)
