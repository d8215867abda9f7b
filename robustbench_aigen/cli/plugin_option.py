"""The option ``--plugin`` of every command that opens data, detectors or runs."""

from typing import Annotated

import typer


def _loaded(files: list[str] | None) -> list[str] | None:
    """Load the plugin files before the command looks anything up."""
    from robustbench_aigen.registry import load_plugins

    load_plugins(files or ())
    return files


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        callback=_loaded,
        help="Load a Python file that registers your own attacks, perturbations, metrics, checks, tables, figures, layouts or formats. It runs with your rights. Repeatable.",
    ),
]
