"""Baselines: a run cut down to what a gate needs, small enough to commit."""

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigen.digests import sealed
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.files import atomic_folder, require_regular, write_atomically, writing
from robustbench_aigen.metrics.summary import scores_compare
from robustbench_aigen.runs.folder import RECORDS, RUN, read_run
from robustbench_aigen.runs.info import cells_of, check_format, parse_info, pipelines_of
from robustbench_aigen.runs.records import check_cells, with_log_odds

BASELINE = "baseline.json"
_FORMAT = 1
_EDITABLE = (("scenario", "gate"),)
"""What may be changed in a committed baseline: it decides nothing that was measured."""
_HASH_DIGITS = 16
"""Of the hashes of the images: 64 bits tell the images of a run apart."""
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


class RecordedRun(Protocol):
    """What can be gated and compared: a run in memory, a run folder, a baseline."""

    @property
    def folder(self) -> Path | None:
        """Where it is; None in memory."""
        ...

    @property
    def info(self) -> dict[str, Any]:
        """The content of its ``run.json``."""
        ...

    @property
    def records(self) -> pd.DataFrame:
        """A row per detector × pipeline × image."""
        ...


@dataclass(frozen=True)
class Baseline:
    """A baseline that was read back."""

    folder: Path
    info: dict[str, Any]
    records: pd.DataFrame


def open_recorded(run: str | Path | RecordedRun) -> RecordedRun:
    """Open a run folder or a baseline; what is open already stays.

    Raises
    ------
    UserError
        If it is neither, or damaged.
    """
    if not isinstance(run, str | Path):
        if not hasattr(run, "info"):
            raise UserError(
                f"a run is a {type(run).__name__}", hint="give a Run, or the path of a run folder"
            )
        return run
    if (Path(run) / BASELINE).exists():
        return _read_baseline(Path(run))
    return read_run(run)


def write_baseline(run: RecordedRun, folder: str | Path) -> Path:
    """Write a run as a baseline, in place of the baseline that may be there, and return its folder.

    Scores that do not compare between images (after a final attack in accuracy mode) are left out.

    Raises
    ------
    UserError
        If something else than a baseline is there, or it cannot be written.
    """
    target = Path(folder)
    if target.exists() and not (target / BASELINE).exists():
        raise UserError(f"'{folder}' is there and is no baseline", hint="give a folder of its own")
    records = run.records  # A damaged run is the user's error; what follows is the disk's.
    with writing("the baseline", "choose another folder"), atomic_folder(target, replace=True) as partial:
        _fill(partial, run, records)
    return target


def _fill(folder: Path, run: RecordedRun, records: pd.DataFrame) -> None:
    records = records[list(_DTYPES)].reset_index(drop=True)
    records["sha256"] = records["sha256"].str[:_HASH_DIGITS]
    mode, pipelines = run.info["scenario"]["mode"], pipelines_of(run.info)
    stopped = [name for name, pipeline in pipelines.items() if not scores_compare(pipeline.kinds, mode)]
    records.loc[records["pipeline"].isin(stopped), ["score", "log_odds"]] = float("nan")
    table = pa.Table.from_pandas(records.astype(_DTYPES), preserve_index=False).replace_schema_metadata()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    stored: bytes = sink.getvalue().to_pybytes()
    write_atomically(folder / RECORDS, stored)
    info = {name: value for name, value in run.info.items() if name != "timings"}
    info["run_id"] = run.info["run_id"] if run.folder is None else run.folder.name
    info["trust"] = {"flags": run.info["trust"]["flags"]}
    about = {"format": _FORMAT, "records_sha256": sha256(stored).hexdigest()}
    content = sealed({"baseline": about, **info}, free=_EDITABLE)
    write_atomically(folder / BASELINE, (json.dumps(content, indent=2) + "\n").encode())


def _read_baseline(folder: Path) -> Baseline:
    def damaged(reason: object) -> UserError:
        return UserError(f"'{folder}' is a damaged baseline: {reason}", hint="write it again with --update")

    try:
        for name in (BASELINE, RECORDS):
            require_regular(folder / name)
        text = (folder / BASELINE).read_text(encoding="utf-8")
        info = parse_info(text, folder, BASELINE, _EDITABLE).info
        about = info["baseline"]
        check_format(about, folder, _FORMAT)
        if about["format"] != _FORMAT:
            raise UserError(
                f"'{folder}' is a baseline of another version", hint="write it again with --update"
            )
        content = (folder / RECORDS).read_bytes()
        if sha256(content).hexdigest() != about["records_sha256"]:
            raise damaged(f"{RECORDS} is not the file that {BASELINE} was written with")
        records = with_log_odds(pd.read_parquet(folder / RECORDS)).astype(
            {**_DTYPES, **dict.fromkeys(_CATEGORIES, "str")}
        )
        check_cells(records, cells_of(info), info["data"]["images"])
    except FileNotFoundError:
        raise damaged(f"{RECORDS} is missing") from None
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged(f"{BASELINE}: {error}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(str(first_line(error)).replace(RUN, BASELINE)) from error
    return Baseline(folder, info, records)


_CATEGORIES = [name for name, kind in _DTYPES.items() if kind == "category"]
