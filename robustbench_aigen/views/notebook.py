"""How a run shows itself in a notebook."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigen.text import counted
from robustbench_aigen.views.tables.accuracy import accuracy_frame


def run_html(folder: Path | None, info: Mapping[str, Any], summary: pd.DataFrame) -> str:
    """Return a run's accuracy table as HTML; names from files stay text."""
    data = info["data"]
    title = f"{info['scenario']['name']}: {counted(data['images'], 'image')} of {data['source']} ({data['split']}), per cent"
    table = accuracy_frame(summary).to_html(index=False, escape=True)
    return f"<p><strong>{escape(title)}</strong></p>{table}<p>{escape(str(folder or 'in memory'))}</p>"
