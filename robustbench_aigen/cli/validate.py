"""``robust-aigen validate``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.collector import resume_collector
from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted


def validate(
    scenario: Annotated[
        list[str], typer.Argument(help="Scenario or fine-tuning files, or names of shipped files.")
    ],
    detector: Annotated[
        list[str] | None,
        typer.Option(help="Replace the detectors, as in run. Repeatable."),
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture of the --detector weights files.")] = None,
    _plugin: Plugins = None,
) -> None:
    """Check scenario and fine-tuning files without a run.

    The command checks keys, values, recipes, detectors and data. It executes no code of detectors: python:… is not
    imported, and files that need --trust-code are not loaded.
    """
    from pathlib import Path

    from robustbench_aigen.engine.scenario_checks import check_scenario
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.scenario import load_scenario, with_detectors
    from robustbench_aigen.training.adversarial.checking import check_finetuning
    from robustbench_aigen.training.adversarial.file import load_finetuning, names_fine_tuning

    resume_collector()
    if arch is not None and not detector:
        raise UserError("--arch needs --detector FILE")
    for name in scenario:
        if names_fine_tuning(name):
            count, note = check_finetuning(load_finetuning(name))
            on = "" if count is None else f" on {count} training images"
            say(f"{name}: fine, a fine-tuning{on}")
            if note:
                say(f"  {note}")
            continue
        loaded = load_scenario(name)
        if detector:
            loaded = with_detectors(loaded, detector, arch, Path.cwd())
        checked = check_scenario(loaded)
        images = "" if checked.images is None else f" on {counted(checked.images, 'image')}"
        say(f"{name}: fine, {counted(checked.cells, 'cell')}{images}")
        for line in checked.data:
            say(f"  {line}")
        for note in checked.notes:
            say(f"  {note}")
