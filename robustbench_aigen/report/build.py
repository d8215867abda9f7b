"""Builds the report of a run folder: figures and ``report.md``."""

from pathlib import Path

from robustbench_aigen.report.figures import draw_figures
from robustbench_aigen.report.markdown import write_report
from robustbench_aigen.report.run_folder import read_run


def build_report(folder: str | Path) -> Path:
    """Draw a run's figures into ``figures/``, write its ``report.md`` with them, and return that file.

    Raises
    ------
    UserError
        If it is not a whole run folder.
    """
    run = read_run(folder)
    drawn = draw_figures(run.summary, run.folder / "figures")
    file = run.folder / "report.md"
    write_report(file, run.summary, run.info, {caption: f"figures/{name}" for caption, name in drawn.items()})
    return file
