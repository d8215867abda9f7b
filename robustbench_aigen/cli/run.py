"""``robust-aigen run``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from robustbench_aigen.cli.collector import resume_collector
from robustbench_aigen.cli.console import print_json, print_table, say, say_notices, say_warnings
from robustbench_aigen.cli.plugin_option import Plugins
from robustbench_aigen.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robustbench_aigen.engine.distribution import Engine
    from robustbench_aigen.engine.experiment import Experiment
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.scenario.scenario import Scenario


def run(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="A scenario file, the name of a shipped scenario, such as pgd_eps4, or a table of scores: CSV, Parquet, npz, or an exported adversarial set."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Run a published protocol instead of a scenario, such as sidbench; see list protocols."
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="Replace the detectors: an id, a file (weights together with --arch), timm:…, hf:…, python:…, or {path: FILE, …} as in a scenario. Repeatable."
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Architecture of the --detector weights: a name of the zoo, of torchvision, or timm:NAME."
        ),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Load detectors whose files can execute code: pickles, .pt2, TorchScript, Keras with code, skops with unknown types.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Replace the data: minigen, a folder or file, hf://org/name, or {source: …} as in a scenario."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Replace the split: train, val, test or all.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Evaluate at most this many images, stratified by class and generator."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that decode, hash and perturb images; by default the available cores. OMP_NUM_THREADS is for the network.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Half the width of the intervals, such as 2%: images are added until all accuracies are known as well. Or the precision of gradients: auto, fp32 or bf16."
        ),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            help="Replace the depth of the trust checks: quick (the default), full, or off.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where shards are computed: local, in this process; processes, on the cores or GPUs of this machine; ray."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes or Ray workers; by default one for each core or GPU."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster, such as auto; by default Ray starts on this machine."),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="DURATION",
            help="Evaluate as many images, stratified, as fit into this time by a measurement: 90s, 10m, 1.5h.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Folder or fsspec URL (s3://…) of finished shards, by default OUTPUT/.cache."),
    ] = None,
    _plugin: Plugins = None,
    output: Annotated[
        str, typer.Option(help="Results folder. The run is written to OUTPUT/<scenario>/<run id>.")
    ] = "results",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute everything again, also what is in the cache.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run a few images in memory, and show the time, queries and memory that the cells are expected to take.",
        ),
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Run a scenario and write records, tables and a report.

    A stopped run resumes with the same command: finished shards are kept in OUTPUT/.cache.
    """
    from robustbench_aigen.data.layouts.exported import is_exported
    from robustbench_aigen.engine.scenario_checks import bound_pipelines
    from robustbench_aigen.scenario.amounts import read_time, read_width
    from robustbench_aigen.scenario.scenario import load_scenario
    from robustbench_aigen.scenario.scores_spec import names_scores

    elsewhere = (None if engine == "local" else engine, workers, address, within, store)
    scenario = _named(scenario, protocol)
    if is_exported(Path(scenario)):
        other = (data, split, limit, precision, trust, *elsewhere)
        _rescore(
            scenario, detector or [], arch, output, device, fresh, trust_code, json_output,
            has_other_options=dry_run or any(value is not None for value in other),
        )  # fmt: skip
        return
    if names_scores(scenario):
        replaced = (detector, arch, data, split, limit, precision, trust, *elsewhere)
        _import(scenario, output, json_output, any(replaced) or dry_run or trust_code or threads is not None)
        return
    seconds = None if within is None else read_time(within)
    half_width = None if precision is None else read_width(precision)
    if half_width is not None:
        precision = None
    loaded = _overridden(load_scenario(scenario), detector, arch, data, split, limit, precision, trust)
    _refuse_untrained(loaded, detector)
    # A mistake in the file is reported before torch is imported.
    bound_pipelines(loaded)
    if dry_run:
        _refuse_workers(engine)
        _show_plan(loaded, device, trust_code, json_output, output, seconds, half_width)
        return
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.evaluation import run as run_scenario

    with shown_progress() as progress:
        result = run_scenario(
            loaded,
            output=output,
            device=device,
            fresh=fresh,
            trust_code=trust_code,
            progress=progress,
            cache=store,
            threads=threads,
            engine=cast("Engine", engine),
            workers=workers,
            address=address,
            seconds=seconds,
            half_width=half_width,
        )
    show_result(result, json_output)


def _named(scenario: str | None, protocol: str | None) -> str:
    """Return the scenario, or the file of the protocol, that a command names."""
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.scenario import protocol_file

    if scenario is not None and protocol is None:
        return scenario
    if scenario is None and protocol is not None:
        return str(protocol_file(protocol))
    raise UserError(
        "give a scenario or --protocol NAME" + (", not both" if scenario is not None else ""),
        hint="robust-aigen list scenarios and robust-aigen list protocols have the names",
    )


def _refuse_untrained(loaded: "Scenario", detectors: list[str] | None) -> None:
    """Refuse a protocol that trains its detectors, unless detectors are given."""
    from robustbench_aigen.errors import UserError

    if loaded.protocol is not None and loaded.protocol.training == "all_but_one" and not detectors:
        raise UserError(
            f"the protocol '{loaded.name}' needs detectors, each trained on all generators but one",
            hint=f"robust-aigen cross-generator RECIPE --protocol {loaded.name} trains them, or name yours by --detector",
        )


def _rescore(
    folder: str,
    detectors: list[str],
    arch: str | None,
    output: str,
    device: str,
    fresh: bool,
    trust_code: bool,
    json_output: bool,
    *,
    has_other_options: bool,
) -> None:
    """Score detectors on an exported adversarial set, and compare the verdicts with those of the exported run."""
    from robustbench_aigen.cli.progress import shown_progress
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.evaluation import rescore

    if has_other_options:
        raise UserError(
            "an exported set has no attacks and no splits: --data, --split, --limit, --precision, --trust and --dry-run do not apply",
            hint="robust-aigen run SCENARIO --data FOLDER runs a scenario on its images",
        )
    with shown_progress() as progress:
        result, compared = rescore(
            folder, detectors=detectors, arch=arch, output=output, device=device, fresh=fresh,
            trust_code=trust_code, progress=progress,
        )  # fmt: skip
    show_result(result, json_output)
    for each in compared:
        say(each.sentence, err=json_output)


def _import(scores: str, output: str, json_output: bool, has_other_options: bool) -> None:
    """Import a table of scores, and write the run."""
    from robustbench_aigen.errors import UserError
    from robustbench_aigen.runs.run import Run
    from robustbench_aigen.views.saving import save_below

    if has_other_options:
        raise UserError(
            "scores have no detectors, images and attacks: only --output, --plugin and --json apply to them",
            hint="columns and threshold are written with the file: '{path: scores.csv, score: prob, threshold: 0.4}'",
        )
    show_result(save_below(Run.load(scores), output), json_output)


def _overridden(
    loaded: "Scenario",
    detector: list[str] | None,
    arch: str | None,
    data: str | None,
    split: str | None,
    limit: int | None,
    precision: str | None,
    trust: str | None,
) -> "Scenario":
    from pathlib import Path

    from robustbench_aigen.errors import UserError
    from robustbench_aigen.scenario.data_argument import read_data
    from robustbench_aigen.scenario.scenario import with_detectors

    changes: dict[str, object] = {}
    if arch is not None and not detector:
        raise UserError("--arch needs --detector FILE")
    if detector:
        loaded = with_detectors(loaded, detector, arch, Path.cwd())
    spec = loaded.data
    if data is not None:
        spec = read_data(data, spec)
    if split is not None:
        spec = spec.model_copy(update={"split": split})
    if limit is not None:
        spec = spec.model_copy(update={"limit": limit})
    if spec != loaded.data:
        changes["data"] = spec
    if precision is not None:
        changes["precision"] = precision
    if trust is not None:
        changes["trust"] = trust
    return loaded.replace(**changes)


def _refuse_workers(engine: str) -> None:
    """Raise UserError if a measurement in one process is asked of workers."""
    from robustbench_aigen.errors import UserError

    if engine != "local":
        raise UserError(
            f"--dry-run measures one process, and --engine {engine} has several",
            hint="leave out --engine; N workers on N free cores take about 1/N of the time of the cells",
        )


def _show_plan(
    loaded: "Scenario",
    device: str,
    trust_code: bool,
    json_output: bool,
    output: str,
    seconds: float | None,
    half_width: float | None,
) -> None:
    from pathlib import Path

    from robustbench_aigen.detectors.remote.network import services_of
    from robustbench_aigen.engine.experiment import make_experiment
    from robustbench_aigen.engine.query_bounds import describe_queries
    from robustbench_aigen.errors import UserError

    resume_collector()
    plan = make_experiment(loaded, device=device, trust_code=trust_code)
    services = services_of(*plan.detectors, *plan.surrogates.values())
    if not services:
        _show_pilot(plan, json_output, seconds, half_width)
        return
    if seconds is not None or half_width is not None:
        raise UserError(
            "--time and --precision need a measurement, and --dry-run sends nothing to a service",
            hint="leave them out; the table has the most queries of every cell",
        )
    table = plan.estimate()
    for service in services:
        service.look_in(Path(output) / ".cache")
    if json_output:
        print_json(table.to_dict(orient="records"))
        return
    seconds = table["seconds"].sum()
    time = f"at most about {seconds:.0f} s (all steps, no cache)"
    if table["seconds"].isna().any():
        time += " without the services that declare no rate"
    shown = table.assign(seconds=table["seconds"].map(lambda own: "–" if math.isnan(own) else f"{own:.1f}"))
    print_table(
        shown,
        f"{loaded.name}: {counted(len(table), 'cell')}, {time}",
        group="detector",
    )
    for line in describe_queries(plan):
        say(line)


def _show_pilot(
    plan: "Experiment", json_output: bool, seconds: float | None, half_width: float | None
) -> None:
    """Run a part of the images in memory, and show what the whole is expected to take."""
    from robustbench_aigen.engine.estimate import write_duration
    from robustbench_aigen.engine.pilot import estimated_cells
    from robustbench_aigen.engine.time_budget import most_images
    from robustbench_aigen.engine.until_narrow import looks_of
    from robustbench_aigen.evaluation import pilot_of

    found = pilot_of(plan)
    table = estimated_cells(plan, found)
    if json_output:
        rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
        print_json(rows)
        return
    whole = found.seconds(found.whole, plan.scenario.trust)
    least, likely, most = map(write_duration, whole)
    title = f"{plan.scenario.name}: {counted(len(table), 'cell')}, about {likely} ({least} to {most})"
    spans = zip(table["least"], table["most"], strict=True)
    shown = table.assign(
        seconds=table["seconds"].map("{:.1f}".format),
        range=[f"{low:.1f}–{high:.1f}" for low, high in spans],
        memory_mb=table["memory_mb"].map("{:.0f}".format, na_action="ignore").fillna("–"),
    )
    columns = ["detector", "pipeline", "images", "seconds", "range", "queries", "memory_mb"]
    print_table(shown[columns], title, group="detector")
    say(
        f"measured on {counted(found.images, 'image')} in one process, with trust checks {plan.scenario.trust} and "
        "without the cache; the report takes some seconds more"
    )
    if seconds is not None:
        count = min(found.whole, most_images(found, plan.scenario.trust, seconds))
        say(
            f"--time {write_duration(seconds)}: about {counted(count, 'image')}, less those that the pilot takes"
        )
    if half_width is not None:
        looks = ", ".join(map(str, looks_of(plan.selection)))
        say(f"--precision {100 * half_width:g}%: the intervals are checked after {looks} images")


def show_result(result: "Run", json_output: bool, more: "Mapping[str, object] | None" = None) -> None:
    """Print a run as a table, or as JSON with more entries."""
    from robustbench_aigen.runs.timings import trust_share
    from robustbench_aigen.views.tables.accuracy import accuracy_frame

    if json_output:
        rows = result.summary.astype(object).where(result.summary.notna(), None).to_dict(orient="records")
        print_json(
            {
                "run_folder": str(result.folder),
                "summary": rows,
                "unreadable": [each.to_dict() for each in result.info.data.unreadable],
                "notices": [notice.as_dict() for notice in result.notices],
                **(more or {}),
            }
        )
        return
    title = f"{result.info.scenario.name}: {result.info.data.title}, per cent"
    print_table(accuracy_frame(result.summary), title, group="detector")
    if result.problems:
        say(
            f"{counted(len(result.problems), 'image could not be read and was', 'images could not be read and were')} skipped (run.json names them)"
        )
    if result.info.scores is not None:
        say_notices(result.notices)
        say(f"{result.info.seconds:.1f} s, written to {result.folder}")
        return
    say_warnings(result.notices)
    checks = f"trust checks: {result.info.trust.mode}, {100 * trust_share(result.info):.0f} % of the time"
    say(f"{result.info.seconds:.1f} s, written to {result.folder} ({checks})")
