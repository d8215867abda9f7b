"""Builds reports: of a run into its folder, or of several side by side into a folder of their own."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_aigen.errors import UserError
from robustbench_aigen.files import temporary_folder, writing
from robustbench_aigen.metrics.summary import scores_compare, with_added_metrics
from robustbench_aigen.runs.folder import StoredRun, read_run, write_info
from robustbench_aigen.runs.info import pipelines_of
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import FIGURES_STEP, TABLES_STEP, with_report_times
from robustbench_aigen.views.contents import draw_figures, report_tables
from robustbench_aigen.views.formats.html import html_report
from robustbench_aigen.views.making import raise_faults
from robustbench_aigen.views.texts import TABLES, write_texts

HTML, FIGURES = "report.html", "figures"


def build_report(runs: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Build the whole report of some runs and return the folder that it is in.

    ``report.md``, ``report.html``, ``report.tex``, ``tables/`` and ``figures/`` replace those of an earlier report when
    all of them are there; other files of the folder stay. In its own folder the run's ``run.json`` then has how long
    tables and figures took; one of an earlier format stays as it is.

    Parameters
    ----------
    runs
        Run folders, or a scenario's results folder for its newest run.
    output
        Where; a single run's own folder by default.

    Raises
    ------
    UserError
        If one is not a whole run folder, or there is no folder for several runs. After everything else is written: if
        a table or figure of a plugin fails.
    """
    joined = join_runs([_with_added_metrics(read_run(run)) for run in runs])
    if output is None and len(joined.runs) > 1:
        raise UserError("a report of several runs needs a folder", hint="--output FOLDER")
    target = joined.runs[0].folder if output is None else Path(output)
    joined.check()
    faults: list[str] = []
    tables = report_tables(joined, faults)
    with writing("the report"), temporary_folder(target) as made:
        (made / FIGURES).mkdir()
        clock = time.perf_counter()
        figures = draw_figures(joined, made / FIGURES, faults)
        drawn = time.perf_counter()
        write_texts(joined, tables, figures, made)
        (made / HTML).write_text(html_report(joined, tables, figures), encoding="utf-8")
        _replace(made, target)
        seconds = {TABLES_STEP: time.perf_counter() - drawn, FIGURES_STEP: drawn - clock}
    if [run.folder for run in joined.runs] == [target.resolve()]:
        (run,) = joined.runs
        if run.written == FORMAT:
            write_info(target, with_report_times(run.info, seconds), run.digests)
    raise_faults(faults, target)
    return target


def report(runs: "Sequence[str | Path | Run]", output: str | Path | None = None) -> Path:
    """Build the report of several runs side by side, and return its folder; the parameters are those of :func:`build_report`.

    Raises
    ------
    UserError
        If a run is in memory alone: ``run.save(folder)`` writes it.
    """
    folders: list[str | Path] = []
    for run in runs:
        folder = run.folder if isinstance(run, Run) else run
        if folder is None:
            raise UserError("a run is in memory alone", hint="run.save(folder) writes it")
        folders.append(folder)
    return build_report(folders, output)


def _with_added_metrics(run: StoredRun) -> StoredRun:
    """Return a run with the metrics of plugins that were loaded after it was computed, where it has records."""
    if not run.has_records:
        return run
    mode, pipelines = run.info["scenario"]["mode"], pipelines_of(run.info)

    def compares(pipeline: str) -> bool:
        return scores_compare(pipelines[pipeline].kinds, mode)

    return replace(run, summary=with_added_metrics(run.summary, lambda: run.records, compares))


def _replace(made: Path, target: Path) -> None:
    """Move a finished report over the one that is there."""
    for name in (TABLES, FIGURES):
        old = target / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
    for path in sorted(made.iterdir()):
        path.replace(target / path.name)
