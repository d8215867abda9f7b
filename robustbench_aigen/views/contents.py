"""The tables and the figures of a report."""

from collections.abc import Iterable
from pathlib import Path

from robustbench_aigen.csv_text import csv_of
from robustbench_aigen.errors import UserError
from robustbench_aigen.runs.joined import JoinedRuns
from robustbench_aigen.views.figure import FIGURES, Drawn, Figure
from robustbench_aigen.views.making import made_by
from robustbench_aigen.views.table import TABLES, Table, with_one_class_marks, without_best


def report_tables(joined: JoinedRuns, faults: list[str]) -> list[Table]:
    """Return the tables of a report, the most important first; empty tables are left out.

    Parameters
    ----------
    joined
        The runs.
    faults
        Takes a line for each table of a plugin that fails.
    """
    are_alike = len({run.info.data.fingerprint for run in joined.runs}) == 1
    flagged = joined.one_class_detectors()

    def finish(table: Table) -> Table:
        widths = {len(row) for row in table.rows} - {len(table.columns)}
        if widths:
            raise UserError(f"a row has {widths.pop()} cells for {len(table.columns)} columns")
        return with_one_class_marks(table if are_alike else without_best(table), flagged)

    return made_by(TABLES, Table, joined, finish, faults)


def draw_figures(joined: JoinedRuns, folder: Path, faults: list[str]) -> list[Drawn]:
    """Draw the figures of a report as ``NAME.png`` and ``NAME.pdf``.

    Figures of single images use the runs that have records; the gallery uses the runs that kept images.

    Parameters
    ----------
    joined
        The runs.
    folder
        Folder of the files.
    faults
        Takes a line for each figure of a plugin that fails.
    """
    from robustbench_aigen.views.figures.drawing import save, style  # A text report does not need matplotlib.

    def finish(figure: Figure) -> Drawn:
        try:
            return save(figure.drawing, folder, figure.name, figure.caption)
        except Exception:
            for file in folder.glob(f"{figure.name}.*"):
                file.unlink()
            raise

    with style():
        return made_by(FIGURES, Figure, joined, finish, faults)


def write_csv(folder: Path, tables: Iterable[Table]) -> None:
    """Write tables as they are shown into ``NAME.csv``, without marks of significance, because p-values are included."""
    for table in tables:
        (folder / f"{table.name}.csv").write_text(csv_of(table.frame()), encoding="utf-8")
