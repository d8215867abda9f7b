"""Writes the files of a run folder that are read back, and says what is wrong with a folder that cannot be read.

``run.json`` holds the digests of its own values and of the other files. They are not in a file of their own: whoever
copies ``run.json`` and ``summary.csv``, as committed results do, has them, and what is not copied is not asked for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.csv_text import csv_of, unguarded_frame
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.digests import DamagedFileError, digest_of_text, sealed
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import require_regular, sha256_of_file, write_atomically
from robustbench_aigen.metrics.summary import ALL_GENERATORS, COLUMNS
from robustbench_aigen.runs.info import ReadInfo, cells_of, parse_info, pipelines_of
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.records import LATER_COLUMNS, RUN_RECORD_DTYPES, check_cells, with_log_odds
from robustbench_aigen.text import counted

RECORDS, SUMMARY, RUN, GALLERY = "records.parquet", "summary.csv", "run.json", "gallery.parquet"
_GALLERY_COLUMNS = [
    "detector", "pipeline", "sample", "generator", "label", "clean_score", "score", "attacked", "correct", "original",
    "image",
]  # fmt: skip
_TEXT = {"family": str, "generator": str, "detector": str, "pipeline": str}


@dataclass(frozen=True)
class StoredRun:
    """A run folder: its summary and the content of its ``run.json``, which agree; its records when asked for."""

    folder: Path
    info: dict[str, Any]
    summary: pd.DataFrame
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the other files, by their names; a run of an earlier version has none."""
    written: int = FORMAT
    """The format of the files; ``info`` and ``summary`` are in the present one."""

    def overall(self) -> pd.DataFrame:
        """Return the summary rows on all images."""
        return self.summary[self.summary["generator"] == ALL_GENERATORS]

    @property
    def has_records(self) -> bool:
        """Whether the records are there: committed results have none."""
        return (self.folder / RECORDS).is_file()

    @cached_property
    def records(self) -> pd.DataFrame:
        """A row per detector × pipeline × image, checked against ``run.json``.

        Raises
        ------
        UserError
            If they are missing, damaged, or not those of the run.
        """
        _check_digest(self.folder, RECORDS, self.digests)
        return _read_records(self.folder, self.info)

    def _repr_html_(self) -> str:
        from robustbench_aigen.views.notebook import run_html

        return run_html(self.folder, self.info, self.summary)

    @cached_property
    def gallery(self) -> pd.DataFrame:
        """Records of the few attacked images that were kept, with ``original`` and ``image`` as PNGs; often empty.

        Raises
        ------
        UserError
            If the file is damaged or not of this run.
        """
        _check_digest(self.folder, GALLERY, self.digests)
        return _read_gallery(self.folder, self.info)


def write_run(
    folder: Path,
    info: Mapping[str, Any],
    records: pd.DataFrame,
    summary: pd.DataFrame,
    gallery: pd.DataFrame | None = None,
) -> dict[str, str]:
    """Write records, gallery, summary and ``run.json``, with the digests of all of them, into a folder.

    The digests of records, gallery and summary are returned.

    Raises
    ------
    UserError
        If they cannot be written.
    """
    contents = {RECORDS: records.to_parquet(index=False), SUMMARY: csv_of(summary).encode()}
    if gallery is not None:
        contents[GALLERY] = gallery.to_parquet(index=False)
    digests = {}
    for name, content in contents.items():
        write_atomically(folder / name, content)
        digests[name] = digest_of_text(content) if name == SUMMARY else sha256(content).hexdigest()
    write_info(folder, info, digests)
    return digests


def write_info(folder: Path, info: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Write ``run.json`` with its own digest and those of the files that belong to it.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    text = json.dumps(sealed(info, digests), indent=2) + "\n"
    write_atomically(folder / RUN, text.encode())


def read_run(folder: str | Path) -> StoredRun:
    """Open a run folder, or the newest run of a scenario's folder.

    ``run.json`` and ``summary.csv`` are read and checked; of ``records.parquet``, where it is there, that it is whole.
    Digests are checked of what is read: those of records and gallery when they are asked for.

    Raises
    ------
    UserError
        If it is not a whole run folder: missing, truncated, foreign, or at odds with itself.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"no run folder '{folder}'", hint="robust-aigen list runs shows what there is")
    if not (path / RUN).is_file() and (path / "latest").exists():
        path = path / "latest"
    path = path.resolve()
    for name in (RUN, SUMMARY):
        if not (path / name).is_file():
            raise UserError(f"'{folder}' is not a run folder: {name} is missing")
    info, digests, written = _read_info(path)
    _check_digest(path, SUMMARY, digests)
    summary = _read_summary(path, info)
    if (path / RECORDS).exists():
        _check_footer(path, info)
    return StoredRun(path, info, summary, digests, written)


class FoundRuns(NamedTuple):
    """What is below a results folder: its runs, newest first, and what is wrong with which other folders."""

    runs: list[StoredRun]
    broken: list[tuple[Path, UserError]]


def find_runs(output: str | Path) -> FoundRuns:
    """Open every run below a results folder.

    Whatever holds a file of a run is taken for one; what cannot be opened is told of and does not stop the others.
    """
    found = FoundRuns([], [])
    folders = {
        file.parent.resolve(): file.parent
        for name in (RUN, SUMMARY, RECORDS)
        for file in Path(output).glob(f"*/*/{name}")
        if file.parent.name[0] != "." and file.parent.name != "latest"
    }
    for folder in sorted(folders.values()):
        try:
            found.runs.append(read_run(folder))
        except UserError as error:
            found.broken.append((folder, error))
    found.runs.sort(key=lambda run: (str(run.info["started"]), run.folder.name), reverse=True)
    return found


def _damaged(folder: Path, reason: object) -> UserError:
    return UserError(
        f"'{folder}' is damaged: {reason}",
        hint="restore the file, or run the scenario again: the cache makes it quick",
    )


def _foreign(folder: Path, reason: object) -> UserError:
    return UserError(f"'{folder}' was not written by this version of robust-aigen: {reason}")


def _check_digest(folder: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a file that is not as the run wrote it. What is missing is told of where it is needed."""
    file = folder / name
    if name not in digests or not file.exists():
        return
    try:
        digest = digest_of_text(file.read_bytes()) if name == SUMMARY else sha256_of_file(file)
    except OSError as error:
        raise _damaged(folder, f"{name}: {first_line(error)}") from error
    if digest != digests[name]:
        raise _damaged(folder, f"{name} was changed after the run wrote it")


def _read_info(folder: Path) -> ReadInfo:
    try:
        return parse_info((folder / RUN).read_text(encoding="utf-8"), folder)
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise _damaged(folder, f"{RUN}: {first_line(error)}") from error
    except DamagedFileError as error:
        raise _damaged(folder, error) from error
    except ValueError as error:
        raise _foreign(folder, error) from error


def _read_summary(folder: Path, info: dict[str, Any]) -> pd.DataFrame:
    try:
        summary = pd.read_csv(folder / SUMMARY, dtype=_TEXT, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise _damaged(folder, f"{SUMMARY}: {first_line(error)}") from error
    summary = unguarded_frame(summary)
    if "family" not in summary and "pipeline" in summary:  # Format 0 has none.
        families = {name: pipeline.family for name, pipeline in pipelines_of(info).items()}
        summary["family"] = summary["pipeline"].map(families)
    missing = [name for name in COLUMNS if name not in summary]
    if missing:
        raise _foreign(folder, f"{SUMMARY} has no column {missing[0]}")
    added = [name for name in info.get("metrics", ()) if name in summary and name not in COLUMNS]
    summary = summary[[*COLUMNS, *added]]  # Later versions may add columns.
    text = summary.columns.isin([*_TEXT, "trust"])
    for name in summary.columns[~text]:
        if not pd.api.types.is_numeric_dtype(summary[name]):
            raise _damaged(folder, f"{SUMMARY}: {name} holds something else than numbers")
    overall = summary[summary["generator"] == ALL_GENERATORS]
    if list(zip(overall["detector"], overall["pipeline"], strict=True)) != cells_of(info):
        raise _damaged(folder, f"{SUMMARY} has other detectors and pipelines than {RUN}")
    if not (overall["n"] == info["data"]["images"]).all():
        raise _damaged(folder, f"{SUMMARY} counts other images than {RUN}")
    return summary


def _check_footer(folder: Path, info: dict[str, Any]) -> None:
    """Check what the end of the records' file says, which is where a file that was cut off has lost it."""
    try:
        require_regular(folder / RECORDS)
        footer = pq.read_metadata(folder / RECORDS)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(folder, f"{RECORDS}: {first_line(error)}") from error
    missing = [name for name in RUN_RECORD_DTYPES if name not in {*footer.schema.names, *LATER_COLUMNS}]
    if missing:
        raise _foreign(folder, f"{RECORDS} has no column {missing[0]}")
    cells = len(cells_of(info))
    if footer.num_rows != cells * info["data"]["images"]:
        raise _damaged(
            folder,
            f"{RECORDS} has {counted(footer.num_rows, 'row')}, and {RUN} speaks of {cells * info['data']['images']} "
            f"({counted(cells, 'cell')} on {counted(info['data']['images'], 'image')})",
        )


def _read_records(folder: Path, info: dict[str, Any]) -> pd.DataFrame:
    if not (folder / RECORDS).is_file():
        raise UserError(
            f"'{folder}' has no {RECORDS}", hint="run the scenario again: records are not committed"
        )
    try:
        records = with_log_odds(pd.read_parquet(folder / RECORDS)).astype(RUN_RECORD_DTYPES)
        records = records[list(RUN_RECORD_DTYPES)]  # Later versions may add columns.
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise _damaged(folder, f"{RECORDS}: {first_line(error)}") from error
    try:
        check_cells(records, cells_of(info), info["data"]["images"])
    except ValueError as error:
        raise _damaged(folder, f"{RECORDS} does not fit {RUN}: {error}") from error
    if not info["data"]["unreadable"]:
        # The fingerprint is over unreadable images too, of which there are no records.
        first = records.head(info["data"]["images"])
        images = zip(first["sample"], first["label"], first["generator"], first["sha256"], strict=True)
        if fingerprint(images) != info["data"]["fingerprint"]:
            raise _damaged(folder, f"{RECORDS} is of other images than {RUN} says")
    return records


def _read_gallery(folder: Path, info: dict[str, Any]) -> pd.DataFrame:
    if not (folder / GALLERY).is_file():
        return pd.DataFrame(columns=_GALLERY_COLUMNS)
    try:
        gallery = pd.read_parquet(folder / GALLERY)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(folder, f"{GALLERY}: {first_line(error)}") from error
    missing = [name for name in _GALLERY_COLUMNS if name not in gallery]
    if missing:
        raise _foreign(folder, f"{GALLERY} has no column {missing[0]}")
    if not set(zip(gallery["detector"], gallery["pipeline"], strict=True)) <= set(cells_of(info)):
        raise _damaged(folder, f"{GALLERY} has other detectors and pipelines than {RUN}")
    return gallery
