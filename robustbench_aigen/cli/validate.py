"""``robust-aigen validate``."""

from typing import Annotated

import typer


def validate(
    scenario: Annotated[
        list[str], typer.Argument(help="Scenario or fine-tuning files, or names of shipped ones.")
    ],
) -> None:
    """Check scenario and fine-tuning files: keys, values, recipes, detectors and data, without running anything."""
    from robustbench_aigen.engine.plan import make_plan
    from robustbench_aigen.scenario.schema import load_scenario
    from robustbench_aigen.training.adversarial.checking import check_finetuning
    from robustbench_aigen.training.adversarial.file import load_finetuning, names_fine_tuning

    for name in scenario:
        if names_fine_tuning(name):
            images = check_finetuning(load_finetuning(name))
            typer.echo(f"{name}: fine, a fine-tuning on {images} training images")
            continue
        plan = make_plan(load_scenario(name), device="cpu")
        typer.echo(f"{name}: fine, {plan.cells} cells on {len(plan.selection.indices)} images")
