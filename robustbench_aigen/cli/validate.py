"""``robust-aigen validate``."""

from typing import Annotated

import typer


def validate(
    scenario: Annotated[list[str], typer.Argument(help="Scenario files, or names of shipped ones.")],
    detector: Annotated[
        list[str] | None,
        typer.Option(help="Replace the detectors, as in run. Repeatable."),
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of the --detector weights files.")] = None,
) -> None:
    """Check scenario files: keys, values, recipes, detectors and data, without running anything.

    Code that comes with detectors is not run either: python:… is not imported, and what needs --trust-code not loaded.
    """
    from pathlib import Path

    from robustbench_aigen.engine.plan import check_scenario
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.schema import load_scenario, with_detectors

    if arch is not None and not detector:
        raise UserError("--arch needs --detector FILE")
    for name in scenario:
        loaded = load_scenario(name)
        if detector:
            loaded = with_detectors(loaded, detector, arch, Path.cwd())
        checked = check_scenario(loaded)
        typer.echo(f"{name}: fine, {checked.cells} cells on {checked.images} images")
        for line in checked.data:
            typer.echo(f"  {line}")
        for note in checked.notes:
            typer.echo(f"  {note}")
