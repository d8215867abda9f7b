"""``robust-aigen report``."""

from typing import Annotated

import typer


def report(
    run: Annotated[
        list[str], typer.Argument(help="Run folders, or a scenario's results folder for its newest run.")
    ],
) -> None:
    """Draw the figures of runs and write their report anew, inside the run folders."""
    from robustbench_aigen.report.build import build_report

    for folder in run:
        typer.echo(f"written: {build_report(folder)}")
