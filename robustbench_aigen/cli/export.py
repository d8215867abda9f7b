"""``robust-aigen export``."""

from typing import Annotated

import typer

from robustbench_aigen.cli.console import say
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted


def export(
    run: Annotated[
        str, typer.Argument(help="A run folder, or the results folder of a scenario for its newest run.")
    ],
    output: Annotated[str, typer.Option(help="The new folder.")],
    pipeline: Annotated[
        list[str] | None,
        typer.Option(help="Export only these pipelines: a name, a sweep, or a pattern with *. Repeatable."),
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option(help="Export only the images attacked on this detector. Repeatable.")
    ] = None,
    licence: Annotated[str, typer.Option(help="Licence of the images, for the manifest.")] = "unknown",
    _plugin: Plugins = None,
) -> None:
    """Write the attacked images of a run as a set that other detectors can be scored on.

    The scenario needs keep_images: all. 'robust-aigen run FOLDER' scores the set and compares the verdicts.
    """
    from robustbench_aigen.runs.export import export_run
    from robustbench_aigen.runs.run import Run

    done = export_run(
        Run.load(run), output, pipelines=pipeline or (), detectors=detector or (), licence=licence
    )
    formats = ", ".join(f"{count} {name}" for name, count in sorted(done.formats.items()))
    say(
        f"{counted(done.images, 'image')} of {counted(done.cells, 'cell')} ({formats}), written to {done.folder}"
    )
