"""Tables that grow by one measurement at a time."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def put_rows(file: Path, rows: pd.DataFrame, same: Sequence[str]) -> None:
    """Put rows into a CSV file, in place of earlier ones that agree with any of them in the columns of ``same``."""
    rows = rows.astype(str).where(rows.notna(), "")
    if file.is_file():
        before = pd.read_csv(file, dtype=str, keep_default_na=False)
        again = pd.MultiIndex.from_frame(before[list(same)]).isin(pd.MultiIndex.from_frame(rows[list(same)]))
        rows = pd.concat([before[~again], rows], ignore_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(file, index=False)
