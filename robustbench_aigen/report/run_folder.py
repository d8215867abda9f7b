"""Reads run folders back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.metrics.summary import ALL_GENERATORS, COLUMNS

_TEXT = {"stage_params": str, "generator": str, "detector": str, "pipeline": str}


@dataclass(frozen=True)
class StoredRun:
    """A run folder's summary and the content of its ``run.json``."""

    folder: Path
    info: dict[str, Any]
    summary: pd.DataFrame

    def overall(self) -> pd.DataFrame:
        """Return the summary rows on all images."""
        return self.summary[self.summary["generator"] == ALL_GENERATORS]


def read_run(folder: str | Path) -> StoredRun:
    """Read a run folder, or the newest run of a scenario's folder.

    Raises
    ------
    UserError
        If it is not a whole run folder.
    """
    path = Path(folder)
    if not (path / "run.json").is_file() and (path / "latest").exists():
        path = path / "latest"
    path = path.resolve()
    try:
        info = json.loads((path / "run.json").read_text(encoding="utf-8"))
        summary = pd.read_csv(path / "summary.csv", dtype=_TEXT, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise UserError(
            f"'{folder}' is not a run folder: {Path(str(error.filename)).name} is missing"
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(f"'{folder}' is damaged: {first_line(error)}") from error
    if not isinstance(info, dict) or "scenario" not in info or list(summary.columns) != COLUMNS:
        raise UserError(f"'{folder}' was not written by this version of robust-aigen")
    return StoredRun(path, info, summary)


def find_runs(output: str | Path) -> list[StoredRun]:
    """Return the whole runs below a results folder, newest first."""
    folders = {
        file.parent.resolve() for file in Path(output).glob("*/*/run.json") if file.parent.name[0] != "."
    }
    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError:
            continue  # Another program's folder, or another version's: not one of our runs.
    return sorted(runs, key=lambda run: str(run.info["started"]), reverse=True)
