"""Display of a run in a notebook."""

from html import escape

from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.tables.accuracy import accuracy_frame


def run_html(run: Run) -> str:
    """Return a run's accuracy table as HTML; names from files stay text."""
    title = f"{run.info.scenario.name}: {run.info.data.title}, per cent"
    table = accuracy_frame(run.summary).to_html(index=False, escape=True) if len(run.summary) else ""
    return f"<p><strong>{escape(title)}</strong></p>{table}<p>{escape(run.place)}</p>"
