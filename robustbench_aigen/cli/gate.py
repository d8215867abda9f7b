"""``robust-aigen gate``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from robustbench_aigen.cli.console import print_json, print_table, say, say_notices, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from robustbench_aigen.views.gating.result import GateResult


def gate(
    current: Annotated[
        str,
        typer.Argument(
            help="A run folder, the results folder of a scenario for its newest run, or a table of scores."
        ),
    ],
    baseline: Annotated[
        str,
        typer.Option(help="The baseline: a folder written by --update, a run folder, or a table of scores."),
    ],
    config: Annotated[
        str | None,
        typer.Option(
            help="YAML file with gate settings, instead of the 'gate:' block of the run's scenario."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Replace the metrics, such as accuracy, tpr or auroc. Repeatable."),
    ] = None,
    pipeline: Annotated[
        list[str] | None, typer.Option(help="Replace the pipelines: names, sweeps, patterns. Repeatable.")
    ] = None,
    generator: Annotated[
        list[str] | None, typer.Option(help="Replace the generators: all, or names. Repeatable.")
    ] = None,
    tolerance: Annotated[
        str | None, typer.Option(help="Replace the tolerated loss: 0.01 is one percentage point.")
    ] = None,
    floor: Annotated[
        list[str] | None, typer.Option(help="Replace the floors: 'accuracy of pgd >= 0.40'. Repeatable.")
    ] = None,
    _plugin: Plugins = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Compare runs on different images, with weaker tests.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Write CURRENT as the new baseline, small enough to commit.")
    ] = False,
    junit: Annotated[str | None, typer.Option(help="Write the checks as JUnit XML to this file.")] = None,
    sarif: Annotated[
        str | None,
        typer.Option(help="Write the failed checks as SARIF 2.1.0, for code scanning, to this file."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare a run with its baseline; exit 1 if it is worse.

    A run is worse if a loss is above the tolerance and statistically significant, or if a number is below its floor.
    """
    from pathlib import Path

    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.runs.plugins import missing_plugins
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.scenario.gate_spec import spec_from_options
    from robustbench_aigen.scenario.scores_spec import names_scores
    from robustbench_aigen.views.gating.verdict import gate as hold_against
    from robustbench_aigen.views.gating.verdict import read_spec

    changes = {
        "metrics": metric, "pipelines": pipeline, "generators": generator, "tolerance": tolerance, "floors": floor,
    }  # fmt: skip
    run = Run.load(current)
    say_warnings(missing_plugins(run.info), err=True)
    if run.folder is None:
        say_notices(run.notices, err=True)
    spec = spec_from_options(read_spec(config, run.info), **changes)
    if update:
        if unpaired or junit or sarif:
            raise UserError(
                "--update writes a baseline and compares nothing: leave out --unpaired, --junit and --sarif"
            )
        _update(run.save_baseline(baseline), json_output)
        return
    if not names_scores(baseline) and not Path(baseline).exists():
        raise UserError(f"no baseline '{baseline}'", hint="add --update to write CURRENT as the baseline")
    with shown_progress() as progress:
        progress.start(0)
        progress.work_on("", "comparing the runs")
        result = hold_against(run, baseline, config=spec, unpaired=unpaired)
    if junit is not None:
        result.write_junit(junit)
    if sarif is not None:
        result.write_sarif(sarif)
    _show(result, json_output)
    if not result.passed:
        raise typer.Exit(1)


def _update(folder: "Path", json_output: bool) -> None:

    size = sum(file.stat().st_size for file in folder.iterdir())
    if json_output:
        print_json({"baseline": str(folder), "bytes": size})
    else:
        say(f"written: {folder}, {max(1, round(size / 1024))} kB; commit it")


def _show(result: "GateResult", json_output: bool) -> None:
    from robustbench_aigen.views.gating.github import report_to_github

    if json_output:
        print_json(result.as_dict())
    else:
        print_table(result.table(), result.headline)
        for notice in result.notices:
            say(f"note: {notice}")
        say(result.rule)
        say("gate: " + ("passed" if result.passed else "FAILED"))
    report_to_github(result, sys.stderr if json_output else sys.stdout)
