"""``robust-aigen report``."""

import time
from typing import Annotated

import typer

from robustbench_aigen.cli.console import say, say_notices, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins


def report(
    run: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, the results folder of a scenario for its newest run, or tables of scores."
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            help="Folder of the report; by default the folder of the single run, for scores a new one below results."
        ),
    ] = None,
    model_cards: Annotated[
        bool,
        typer.Option(
            "--model-cards",
            help="Write a model card for each detector into model_cards, in the form of Hugging Face.",
        ),
    ] = False,
    _plugin: Plugins = None,
) -> None:
    """Build the report of one run, or of several runs.

    The report has Markdown, HTML, LaTeX, CSV and figures. Several runs appear side by side.
    """
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.runs.plugins import missing_plugins
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.views.report import HTML
    from robustbench_aigen.views.report import report as build
    from robustbench_aigen.views.saving import RESULTS, save_below

    runs = [Run.load(each) for each in run]
    for opened in runs:
        say_warnings(missing_plugins(opened.info), err=True)
        if opened.folder is None:
            say_notices(opened.notices, err=True)
    if output is None and len(runs) == 1 and runs[0].folder is None:
        runs = [save_below(runs[0], RESULTS)]
    clock = time.perf_counter()
    with shown_progress() as progress:
        progress.start(0)
        progress.work_on("", "tables and figures")
        folder = build(runs, output, model_cards=model_cards)
    say(f"{time.perf_counter() - clock:.1f} s, written to {folder}; open {folder / HTML}")
