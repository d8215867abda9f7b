"""``robust-aigen report``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import say


def report(
    run: Annotated[
        list[str], typer.Argument(help="Run folders, or a scenario's results folder for its newest run.")
    ],
    output: Annotated[
        str | None, typer.Option(help="Where the report goes; a single run's own folder by default.")
    ] = None,
) -> None:
    """Build the report of one run, or of several side by side: Markdown, HTML, LaTeX, CSV, figures."""
    from robustbench_aigen.report.build import HTML, build_report

    folder = build_report(run, output)
    say(f"written to {folder}; open {folder / HTML}")
