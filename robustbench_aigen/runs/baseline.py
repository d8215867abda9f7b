"""Baselines: a run cut down to what a gate needs, small enough to commit."""

import json
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import atomic_folder, require_regular, write_atomically, writing
from robustbench_aigen.metrics.summary import scores_compare
from robustbench_aigen.runs.folder import RECORDS
from robustbench_aigen.runs.info import ReadInfo, RunInfo, check_format, parse_info
from robustbench_aigen.runs.records import check_cells, typed, with_later_columns

BASELINE = "baseline.json"
_FORMAT = 1
_EDITABLE = (("scenario", "gate"),)
"""Editable keys of a committed baseline, which do not affect measurements."""
_HASH_DIGITS = 16
"""Length of the stored hashes of images: 64 bits distinguish the images of a run."""
_DTYPES = {
    "detector": "category",
    "pipeline": "category",
    "sample": "str",
    "generator": "category",
    "label": "int8",
    "score": "float32",
    "log_odds": "float32",
    "correct": "bool",
    "sha256": "str",
}
_READ_DTYPES = {name: "str" if dtype == "category" else dtype for name, dtype in _DTYPES.items()}


def is_baseline(folder: str | Path) -> bool:
    """Whether a folder holds a baseline."""
    return (Path(folder) / BASELINE).exists()


def write_baseline(target: Path, info: RunInfo, records: pd.DataFrame) -> None:
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
        _fill(partial, info, records)


def _fill(folder: Path, info: RunInfo, records: pd.DataFrame) -> None:
    records = records[list(_DTYPES)].reset_index(drop=True)
    records["sha256"] = records["sha256"].str[:_HASH_DIGITS]
    mode = info.scenario.mode
    stopped = [each.name for each in info.pipelines if not scores_compare(each.kinds, mode)]
    records.loc[records["pipeline"].isin(stopped), ["score", "log_odds"]] = float("nan")
    table = pa.Table.from_pandas(typed(records, _DTYPES), preserve_index=False).replace_schema_metadata()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    stored: bytes = sink.getvalue().to_pybytes()
    write_atomically(folder / RECORDS, stored)
    kept = {name: value for name, value in info.to_dict().items() if name != "timings"}
    kept["trust"] = {"flags": [flag.to_dict() for flag in info.trust.flags]}
    about = {"format": _FORMAT, "records_sha256": sha256(stored).hexdigest()}
    content = sealed({"baseline": about, **kept}, free=_EDITABLE)
    write_atomically(folder / BASELINE, (json.dumps(content, indent=2) + "\n").encode())


def read_baseline(folder: Path) -> tuple[ReadInfo, pd.DataFrame]:
    """Read a baseline: the content of ``baseline.json``, and its records.

    Raises
    ------
    UserError
        If the file is damaged, or of a newer format.
    """

    def damaged(reason: object) -> UserError:
        return UserError(
            f"'{folder}' is a damaged baseline: {reason}", hint="write the baseline again with --update"
        )

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
        content = (folder / RECORDS).read_bytes()
        if sha256(content).hexdigest() != about["records_sha256"]:
            raise damaged(f"{RECORDS} is not the file that belongs to {BASELINE}")
        records = typed(with_later_columns(pd.read_parquet(folder / RECORDS)), _READ_DTYPES)
        check_cells(records, read.info.cells, read.info.data.images)
    except FileNotFoundError:
        raise damaged(f"{RECORDS} is missing") from None
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged(f"{BASELINE}: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(first_line(error)) from error
    return read, records
