"""The option ``--plugin`` of several commands."""

from typing import Annotated

import typer

Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        help="Load a Python file that registers your own attacks, perturbations, metrics, checks, tables, figures, layouts or formats. It runs with your rights. Repeatable.",
    ),
]
