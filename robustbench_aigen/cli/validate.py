"""``robust-aigen validate``."""

from typing import Annotated

import typer


def validate(
    scenario: Annotated[list[str], typer.Argument(help="Scenario files, or names of shipped ones.")],
) -> None:
    """Check scenario files: keys, values, recipes, detectors and data, without running anything."""
    from robustbench_aigen.engine.plan import make_plan
    from robustbench_aigen.scenario.schema import load_scenario

    for name in scenario:
        plan = make_plan(load_scenario(name), device="cpu")
        typer.echo(f"{name}: fine, {plan.cells} cells on {len(plan.selection.indices)} images")
