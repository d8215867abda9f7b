"""The files of a run folder: writing, finding and reading, with precise errors for damaged folders.

``run.json`` contains the digests of its own values and of the other files. A copy of ``run.json`` and ``summary.csv``,
such as the committed results, then includes the digests, and files that were not copied are not required.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from robustbench_aigen.csv_text import csv_of, unguarded_frame
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.digests import DamagedFileError, digest_of_text, sealed
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import atomic_file, require_regular, sha256_of_file, write_atomically, writing
from robustbench_aigen.metrics.summary import ALL_GENERATORS, COLUMNS, summarise
from robustbench_aigen.numerics.decoding import UnreadableImageError, opened_image
from robustbench_aigen.runs.cells import Cells, FrameCells, open_cells, write_cells
from robustbench_aigen.runs.info import ReadInfo, RunInfo, parse_info
from robustbench_aigen.runs.records import (
    LATER_COLUMNS,
    RUN_RECORD_DTYPES,
    as_records,
    check_cells,
    images_in,
)
from robustbench_aigen.text import counted

RECORDS, SUMMARY, RUN, GALLERY = "records.parquet", "summary.csv", "run.json", "gallery.parquet"
_GALLERY_COLUMNS = [
    "detector", "pipeline", "sample", "generator", "label", "clean_score", "score", "attacked", "correct", "original",
    "image",
]  # fmt: skip
GALLERY_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "AVIF": ".avif"}
"""Formats of images in a gallery, and the suffixes of their files."""
_TEXT = {"family": str, "generator": str, "detector": str, "pipeline": str, "trust": str}
_ROW = ["detector", "pipeline", "generator"]
"""The columns that identify a row of a summary; nothing can replace them."""


def write_run(
    folder: Path,
    info: RunInfo,
    records: pd.DataFrame | Iterable[pd.DataFrame],
    summary: pd.DataFrame,
    gallery: pd.DataFrame,
) -> dict[str, str]:
    """Write records, gallery, summary and ``run.json``, with the digests of all of them, into a folder.

    Records may come in parts, in the order of the cells. An empty gallery has no file. The digests of records, gallery
    and summary are returned.

    Raises
    ------
    UserError
        If they cannot be written.
    """
    with writing(), atomic_file(folder / RECORDS) as stream:
        write_cells(stream, [records] if isinstance(records, pd.DataFrame) else records)
    contents = {SUMMARY: csv_of(summary).encode()}
    if len(gallery):
        contents[GALLERY] = gallery.to_parquet(index=False)
    digests = {RECORDS: sha256_of_file(folder / RECORDS)}
    for name, content in contents.items():
        write_atomically(folder / name, content)
        digests[name] = digest_of_text(content) if name == SUMMARY else sha256(content).hexdigest()
    write_info(folder, info, digests)
    return digests


def write_info(folder: Path, info: RunInfo, digests: Mapping[str, str]) -> None:
    """Write ``run.json`` with its own digest and those of the files that belong to it.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    text = json.dumps(sealed(info.to_dict(), digests), indent=2) + "\n"
    write_atomically(folder / RUN, text.encode())


def no_gallery() -> pd.DataFrame:
    """Return a gallery without images."""
    return pd.DataFrame(columns=_GALLERY_COLUMNS)


def find_folder(folder: str | Path) -> Path:
    """Return the run folder that a path means: the folder itself, or the newest run of a scenario's folder.

    Raises
    ------
    UserError
        If there is no run.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"no run folder '{folder}'", hint="robust-aigen list runs shows the run folders")
    if not (path / RUN).is_file() and (path / "latest").exists():
        path = path / "latest"
    path = path.resolve()
    for name in (RUN, SUMMARY):
        if not (path / name).is_file():
            raise UserError(f"'{folder}' is not a run folder: {name} is missing")
    return path


def folders_below(output: str | Path) -> Iterator[Path]:
    """Yield every folder below a results folder that contains a file of a run."""
    folders = {
        file.parent.resolve(): file.parent
        for name in (RUN, SUMMARY, RECORDS)
        for file in Path(output).glob(f"*/*/{name}")
        if file.parent.name[0] != "." and file.parent.name != "latest"
    }
    yield from sorted(folders.values())


def _damaged(folder: Path, reason: object) -> UserError:
    return UserError(
        f"'{folder}' is damaged: {reason}",
        hint="restore the file, or run the scenario again, which reads the cache",
    )


def _foreign(folder: Path, reason: object) -> UserError:
    return UserError(
        f"'{folder}' was not written by this version of robust-aigen: {reason}",
        hint="restore the file, or run the scenario again",
    )


def _check_digest(folder: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a file that differs from what the run wrote. A missing file is reported where it is needed."""
    file = folder / name
    if name not in digests or not file.exists():
        return
    try:
        digest = digest_of_text(file.read_bytes()) if name == SUMMARY else sha256_of_file(file)
    except OSError as error:
        raise _damaged(folder, f"{name}: {first_line(error)}") from error
    if digest != digests[name]:
        raise _damaged(folder, f"{name} was changed after the run wrote it")


def read_info(folder: Path) -> ReadInfo:
    """Read the ``run.json`` of a run folder.

    Raises
    ------
    UserError
        If it is damaged, or of a newer format.
    """
    try:
        return parse_info((folder / RUN).read_text(encoding="utf-8"), folder)
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise _damaged(folder, f"{RUN}: {first_line(error)}") from error
    except DamagedFileError as error:
        raise _damaged(folder, error) from error
    except ValueError as error:
        raise _foreign(folder, error) from error


def read_summary(folder: Path, read: ReadInfo) -> pd.DataFrame:
    """Read the ``summary.csv`` of a run folder, checked against its ``run.json``.

    Columns that an earlier version did not write are computed from the records; without records they are empty.
    ``records.parquet`` is checked for completeness.

    Raises
    ------
    UserError
        If the file is damaged or not of this run.
    """
    info = read.info
    _check_digest(folder, SUMMARY, read.digests)
    try:
        summary = pd.read_csv(folder / SUMMARY, dtype=_TEXT, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise _damaged(folder, f"{SUMMARY}: {first_line(error)}") from error
    summary = unguarded_frame(summary)
    for name in _ROW:
        if name not in summary:
            raise _foreign(folder, f"{SUMMARY} has no column {name}")
    added = [name for name in info.metrics if name in summary and name not in COLUMNS]
    known = [name for name in (*COLUMNS, *added) if name in summary]
    for name in known:
        if name not in _TEXT and not pd.api.types.is_numeric_dtype(summary[name]):
            raise _damaged(folder, f"{SUMMARY}: {name} has values that are not numbers")
    overall = summary[summary["generator"] == ALL_GENERATORS]
    if list(zip(overall["detector"], overall["pipeline"], strict=True)) != info.cells:
        raise _damaged(folder, f"{SUMMARY} has other detectors and pipelines than {RUN}")
    if summary.duplicated(_ROW).any():
        twice = summary.loc[summary.duplicated(_ROW), _ROW].iloc[0]
        raise _damaged(folder, f"{SUMMARY} has the row {' · '.join(map(str, twice))} twice")
    if "n" in summary and not (overall["n"] == info.data.images).all():
        raise _damaged(folder, f"{SUMMARY} counts other images than {RUN}")
    if (folder / RECORDS).exists():
        _check_footer(folder, info)
    return _completed(summary[known], folder, read)[[*COLUMNS, *added]]  # Later versions may add columns.


def _completed(summary: pd.DataFrame, folder: Path, read: ReadInfo) -> pd.DataFrame:
    """Return a summary with all of :data:`COLUMNS`."""
    info = read.info
    if "family" not in summary:  # Format 0 has none.
        summary = summary.assign(family=summary["pipeline"].map(info.outline.families))
    if "trust" not in summary:
        flags = [info.flags_of(str(row.detector), str(row.pipeline)) for row in summary.itertuples()]
        summary = summary.assign(trust=flags)
    missing = [name for name in COLUMNS if name not in summary]
    if not missing:
        return summary
    if not (folder / RECORDS).is_file():
        return summary.assign(**dict.fromkeys(missing, float("nan")))
    cells = read_cells(folder, read)
    parts = ((key, cells.cell(*key)) for key in cells)
    computed = summarise(parts, info.pipelines, info.scenario.mode)
    return summary.merge(computed[[*_ROW, *missing]], on=_ROW, how="left", validate="one_to_one")


def _check_footer(folder: Path, info: RunInfo) -> None:
    """Check what the end of the records' file says, which is where a file that was cut off has lost it."""
    try:
        require_regular(folder / RECORDS)
        footer = pq.read_metadata(folder / RECORDS)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(folder, f"{RECORDS}: {first_line(error)}") from error
    missing = [name for name in RUN_RECORD_DTYPES if name not in {*footer.schema.names, *LATER_COLUMNS}]
    if missing:
        raise _foreign(folder, f"{RECORDS} has no column {missing[0]}")
    cells, images = len(info.cells), info.data.images
    if footer.num_rows != cells * images:
        raise _damaged(
            folder,
            f"{RECORDS} has {counted(footer.num_rows, 'row')}, but {RUN} declares {cells * images} "
            f"({counted(cells, 'cell')} on {counted(images, 'image')})",
        )


def read_records(folder: Path, read: ReadInfo) -> pd.DataFrame:
    """Read the ``records.parquet`` of a run folder: a row per detector × pipeline × image.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not of this run.
    """
    info = read.info
    _check_digest(folder, RECORDS, read.digests)
    if not (folder / RECORDS).is_file():
        raise UserError(
            f"'{folder}' has no {RECORDS}", hint="run the scenario again: records are not committed"
        )
    try:
        records = as_records(pd.read_parquet(folder / RECORDS))
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, f"{RECORDS}: {first_line(error)}") from error
    try:
        check_cells(records, info.cells, info.data.images)
    except ValueError as error:
        raise _damaged(folder, f"{RECORDS} does not fit {RUN}: {error}") from error
    if info.data.fingerprint and not info.data.unreadable:
        # The fingerprint includes unreadable images, which have no records.
        first = records.head(info.data.images)
        if fingerprint(images_in(first)) != info.data.fingerprint:
            raise _damaged(folder, f"{RECORDS} has other images than {RUN}")
    return records


def read_cells(folder: Path, read: ReadInfo) -> Cells:
    """Return the records of a run folder by cell, one at a time in memory.

    The file is read as a whole if an earlier version wrote it.

    Raises
    ------
    UserError
        If the file is missing, damaged, or not of this run.
    """
    if RECORDS in read.digests and (folder / RECORDS).is_file():
        # What the run wrote was checked then, and the digest says that it is the same.
        _check_digest(folder, RECORDS, read.digests)
        try:
            stored = open_cells(folder / RECORDS, read.info.cells, read.info.data.images, RUN_RECORD_DTYPES)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _damaged(folder, f"{RECORDS}: {first_line(error)}") from error
        if stored is not None:
            return stored
    return FrameCells(lambda: read_records(folder, read))


def read_gallery(folder: Path, read: ReadInfo) -> pd.DataFrame:
    """Read the records of the attacked images that a run kept, with ``original`` and ``image`` as PNGs.

    Raises
    ------
    UserError
        If the file is damaged or not of this run.
    """
    _check_digest(folder, GALLERY, read.digests)
    if not (folder / GALLERY).is_file():
        return no_gallery()
    try:
        gallery = pd.read_parquet(folder / GALLERY)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(folder, f"{GALLERY}: {first_line(error)}") from error
    missing = [name for name in _GALLERY_COLUMNS if name not in gallery]
    if missing:
        raise _foreign(folder, f"{GALLERY} has no column {missing[0]}")
    if not set(zip(gallery["detector"], gallery["pipeline"], strict=True)) <= set(read.info.cells):
        raise _damaged(folder, f"{GALLERY} has other detectors and pipelines than {RUN}")
    for name in ("original", "image"):
        for content in gallery[name]:
            try:
                with opened_image(content if isinstance(content, bytes) else b"") as image:
                    is_known = image.format in GALLERY_SUFFIXES
            except UnreadableImageError as error:
                raise _damaged(folder, f"{GALLERY} has an image that cannot be read: {error}") from error
            if not is_known:
                raise _damaged(folder, f"{GALLERY} has an image of a format that no run keeps")
    return gallery


def gallery_image(content: bytes) -> Image.Image:
    """Return an image of a gallery in RGB.

    Raises
    ------
    UserError
        If its pixels are damaged.
    """
    try:
        with opened_image(content) as image:
            return image.convert("RGB")
    except UnreadableImageError as error:
        raise UserError(
            f"an image of the gallery is damaged: {error}",
            hint=f"restore {GALLERY}, or run the scenario again, which reads the cache",
        ) from error
