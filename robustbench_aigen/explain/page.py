"""A page of explanations: HTML that needs nothing else, figures as PNG and PDF, tables as CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robustbench_aigen.errors import UserError
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.views.contents import write_csv
from robustbench_aigen.views.figure import Drawn, Figure
from robustbench_aigen.views.formats.html import rendered
from robustbench_aigen.views.table import Table

PAGE, FIGURES, TABLES = "explanation.html", "figures", "tables"


@dataclass
class PagePart:
    """A section of a page: its title, and what it shows."""

    title: str
    texts: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page of explanations.

    Parameters
    ----------
    title
        The title.
    lines
        What was explained: pairs of a term and its text.
    parts
        The sections.
    notices
        What was left out or may mislead, a sentence each.
    command
        The command that makes the page again.
    """

    title: str
    lines: Sequence[tuple[str, str]]
    parts: Sequence[PagePart]
    notices: Sequence[str]
    command: str

    def write(self, folder: str | Path) -> Path:
        """Write the page into a folder, which replaces an earlier page there, and return the folder.

        Raises
        ------
        UserError
            If the folder cannot be written, or has other content than a page.
        """
        from robustbench_aigen.views.figures.drawing import save, style  # It imports matplotlib.

        target = Path(folder)
        check_target(target)
        with writing("the explanation"), atomic_folder(target, replace=True) as made:
            (made / FIGURES).mkdir()
            (made / TABLES).mkdir()
            parts = []
            with style():
                for part in self.parts:
                    drawn: list[Drawn] = [
                        save(each.drawing, made / FIGURES, each.name, each.caption) for each in part.figures
                    ]
                    parts.append({**vars(part), "figures": drawn})
                    write_csv(made / TABLES, part.tables)
            (made / PAGE).write_text(
                rendered("explanation.html.j2", page=self, parts=parts), encoding="utf-8"
            )
        return target


def check_target(folder: Path) -> None:
    """Raise UserError where a folder exists and its content is not an earlier page, which would be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output needs a folder, and '{folder}' is a file")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise UserError(
            f"'{folder}' has files that are no explanation", hint="name a new folder with --output"
        )
