"""Baselines: a run cut down to what a gate needs, small enough to commit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import (
    atomic_file,
    atomic_folder,
    require_regular,
    sha256_of_file,
    write_atomically,
    writing,
)
from robustbench_aigen.metrics.summary import scores_compare
from robustbench_aigen.runs.cells import Cells, FrameCells, StoredCells, open_cells, write_cells
from robustbench_aigen.runs.folder import RECORDS
from robustbench_aigen.runs.info import ReadInfo, RunInfo, check_format, parse_info
from robustbench_aigen.runs.records import check_cells, typed, with_later_columns

BASELINE = "baseline.json"
_FORMAT = 1
_EDITABLE = (("scenario", "gate"),)
"""Editable keys of a committed baseline, which do not affect measurements."""
_COMMITTED = 1_000_000
"""Records up to which a baseline is compressed as far as possible."""
_HASH_DIGITS = 16
"""Length of the stored hashes of images: 64 bits distinguish the images of a run."""
_DTYPES = {
    "detector": "str",
    "pipeline": "str",
    "sample": "str",
    "generator": "str",
    "label": "int8",
    "score": "float32",
    "log_odds": "float32",
    "correct": "bool",
    "distance": "float32",
    "distance_limit": "float32",
    "sha256": "str",
}
_OWN = ["score", "log_odds", "correct", "distance", "distance_limit"]
"""The columns that a pipeline has of its own."""


def is_baseline(folder: str | Path) -> bool:
    """Whether a folder holds a baseline."""
    return (Path(folder) / BASELINE).exists()


def write_baseline(target: Path, info: RunInfo, cells: Cells) -> None:
    """Write a run as a baseline and replace an existing baseline.

    Scores that are not comparable between images (after a final attack in accuracy mode) are left out.

    Raises
    ------
    UserError
        If the folder exists and is not a baseline, or if the baseline cannot be written.
    """
    if target.exists() and not is_baseline(target):
        raise UserError(f"'{target}' exists and is not a baseline", hint="choose a new folder")
    with writing("the baseline", "choose another folder"), atomic_folder(target, replace=True) as partial:
        _fill(partial, info, cells)


def _fill(folder: Path, info: RunInfo, cells: Cells) -> None:
    mode = info.scenario.mode
    stopped = [each.name for each in info.pipelines if not scores_compare(each.kinds, mode)]
    images = cells.images().reset_index(drop=True)
    images["sha256"] = images["sha256"].str[:_HASH_DIGITS]

    def parts() -> Iterator[pd.DataFrame]:
        for detector, pipeline in cells:
            own = cells.cell(detector, pipeline)[_OWN].reset_index(drop=True)
            if pipeline in stopped:
                own[["score", "log_odds"]] = float("nan")
            yield typed(
                pd.concat([images, own], axis=1).assign(detector=detector, pipeline=pipeline), _DTYPES
            )

    # What is committed is small and worth minutes per million records; what is larger is not committed.
    level = 19 if info.data.images * len(info.cells) <= _COMMITTED else 3
    with writing(), atomic_file(folder / RECORDS) as stream:
        write_cells(stream, parts(), compression="zstd", compression_level=level)
    kept = {name: value for name, value in info.to_dict().items() if name != "timings"}
    kept["trust"] = {"flags": [flag.to_dict() for flag in info.trust.flags]}
    about = {"format": _FORMAT, "records_sha256": sha256_of_file(folder / RECORDS)}
    content = sealed({"baseline": about, **kept}, free=_EDITABLE)
    write_atomically(folder / BASELINE, (json.dumps(content, indent=2) + "\n").encode())


def read_baseline(folder: Path) -> ReadInfo:
    """Read the content of ``baseline.json``, and check that the records are those that were written with it.

    Raises
    ------
    UserError
        If a file is damaged, or of a newer format.
    """
    try:
        for name in (BASELINE, RECORDS):
            require_regular(folder / name)
        read = parse_info((folder / BASELINE).read_text(encoding="utf-8"), folder, BASELINE, _EDITABLE)
        about = (read.info.model_extra or {})["baseline"]
        check_format(about, folder, _FORMAT)
        if about["format"] != _FORMAT:
            raise UserError(
                f"'{folder}' is a baseline of another version", hint="write the baseline again with --update"
            )
        if sha256_of_file(folder / RECORDS) != about["records_sha256"]:
            raise _damaged(folder, f"{RECORDS} is not the file that belongs to {BASELINE}")
        if _stored(folder, read) is None:
            baseline_records(folder, read)
    except FileNotFoundError:
        raise _damaged(folder, f"{RECORDS} is missing") from None
    except (
        AttributeError, KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise _damaged(folder, f"{BASELINE}: {first_line(error)}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(folder, first_line(error)) from error
    return read


def baseline_records(folder: Path, read: ReadInfo) -> pd.DataFrame:
    """Read all records of a baseline.

    Raises
    ------
    UserError
        If they are not those of the baseline.
    """
    try:
        records = typed(with_later_columns(pd.read_parquet(folder / RECORDS)), _DTYPES)
        check_cells(records, read.info.cells, read.info.data.images)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, first_line(error)) from error
    return records


def baseline_cells(folder: Path, read: ReadInfo) -> Cells:
    """Return the records of a baseline by cell; the file is read as a whole if an earlier version wrote it."""
    return _stored(folder, read) or FrameCells(lambda: baseline_records(folder, read))


def _stored(folder: Path, read: ReadInfo) -> StoredCells | None:
    return open_cells(folder / RECORDS, read.info.cells, read.info.data.images, _DTYPES)


def _damaged(folder: Path, reason: object) -> UserError:
    return UserError(
        f"'{folder}' is a damaged baseline: {reason}", hint="write the baseline again with --update"
    )
