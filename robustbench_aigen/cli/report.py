"""``robust-aigen report``."""

import time
from typing import Annotated

import typer

from robustbench_aigen.cli.console import say, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins


def report(
    run: Annotated[
        list[str], typer.Argument(help="Run folders, or the results folder of a scenario for its newest run.")
    ],
    output: Annotated[
        str | None, typer.Option(help="Folder of the report; by default the folder of the single run.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Build the report of one run, or of several runs.

    The report has Markdown, HTML, LaTeX, CSV and figures. Several runs appear side by side.
    """
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.registry import load_plugins
    from robustbench_aigen.runs.plugins import missing_plugins
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.views.report import HTML
    from robustbench_aigen.views.report import report as build

    load_plugins(plugin or ())
    for each in run:
        say_warnings(missing_plugins(Run.load(each).info), err=True)
    clock = time.perf_counter()
    with shown_progress() as progress:
        progress.start(0)
        progress.work_on("", "tables and figures")
        folder = build(run, output)
    say(f"{time.perf_counter() - clock:.1f} s, written to {folder}; open {folder / HTML}")
