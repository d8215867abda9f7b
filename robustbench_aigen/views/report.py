"""Builds reports: of a run into its folder, or of several side by side into a folder of their own."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from robustbench_aigen.errors import UserError
from robustbench_aigen.files import temporary_folder, writing
from robustbench_aigen.metrics.summary import scores_compare, with_added_metrics
from robustbench_aigen.runs.folder import write_info
from robustbench_aigen.runs.joined import join_runs
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.run import Run, as_run
from robustbench_aigen.runs.timings import FIGURES_STEP, TABLES_STEP, with_report_times
from robustbench_aigen.views.contents import draw_figures, report_tables
from robustbench_aigen.views.formats.html import html_report
from robustbench_aigen.views.making import raise_faults
from robustbench_aigen.views.model_card import check_hub, write_model_cards
from robustbench_aigen.views.texts import TABLES, write_texts

HTML, FIGURES, MODEL_CARDS = "report.html", "figures", "model_cards"
EXPLANATIONS = "explanations"
"""Folder of the pages that ``robust-aigen explain`` adds to a run; the report links them."""


def report(
    runs: Sequence[str | Path | Run], output: str | Path | None = None, *, model_cards: bool = False
) -> Path:
    """Build the whole report of some runs and return its folder.

    ``report.md``, ``report.html``, ``report.tex``, ``tables/``, ``figures/`` and ``model_cards/`` replace those of an
    earlier report once all of them are complete; other files of the folder stay. If the report is in the run's own folder, ``run.json``
    then contains the seconds for tables and figures, unless the file has an earlier format.

    Parameters
    ----------
    runs
        Run folders, a scenario's results folder for its newest run, or runs.
    output
        Folder of the report; by default the run's own folder.
    model_cards
        Also write a model card for each detector into ``model_cards/``, in the form of Hugging Face.

    Raises
    ------
    UserError
        If a run folder is incomplete, several runs are given without a folder, or ``huggingface_hub`` is missing for
        model cards. After everything else is written: if
        a table or figure of a plugin fails.
    """
    if not isinstance(runs, list | tuple) or not runs:
        raise UserError(
            "report takes a list of runs",
            hint="report([run_a, run_b], 'paper/'), or run.report() for one run",
        )
    joined = join_runs([_with_added_metrics(as_run(run)) for run in runs])
    if output is None and len(joined.runs) > 1:
        raise UserError("a report of several runs needs a folder", hint="--output FOLDER")
    own = joined.runs[0].folder
    if output is None and own is None:
        raise UserError("the run is in memory, and its report needs a folder", hint='run.report("report/")')
    target = Path(output or own or "")
    if model_cards:
        check_hub()
    joined.check()
    faults: list[str] = []
    tables = report_tables(joined, faults)
    with writing("the report"), temporary_folder(target) as made:
        (made / FIGURES).mkdir()
        clock = time.perf_counter()
        figures = draw_figures(joined, made / FIGURES, faults)
        drawn = time.perf_counter()
        write_texts(joined, tables, figures, made)
        (made / HTML).write_text(
            html_report(joined, tables, figures, _explanations(target)), encoding="utf-8"
        )
        if model_cards:
            write_model_cards(joined, made / MODEL_CARDS)
        _replace(made, target)
        seconds = {TABLES_STEP: time.perf_counter() - drawn, FIGURES_STEP: drawn - clock}
    if len(joined.runs) == 1 and own is not None and own.resolve() == target.resolve():
        (run,) = joined.runs
        if run.written == FORMAT:
            write_info(target, with_report_times(run.info, seconds), run.digests)
    raise_faults(faults, target)
    return target


def _with_added_metrics(run: Run) -> Run:
    """Return the run with the metrics of plugins that were loaded later, if the run has records."""
    if not run.has_records:
        return run
    mode, pipelines = run.info.scenario.mode, run.info.by_pipeline

    def compares(pipeline: str) -> bool:
        return scores_compare(pipelines[pipeline].kinds, mode)

    return replace(run, summary=with_added_metrics(run.summary, run.cells.cell, compares))


def _explanations(folder: Path) -> list[tuple[str, str]]:
    """Return the names and the relative addresses of the pages of explanations in a report's folder."""
    pages = sorted((folder / EXPLANATIONS).glob("*/explanation.html"))
    return [(page.parent.name, quote(page.relative_to(folder).as_posix())) for page in pages]


def _replace(made: Path, target: Path) -> None:
    """Replace an existing report with the finished report."""
    for name in (TABLES, FIGURES, MODEL_CARDS):
        old = target / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
    for path in sorted(made.iterdir()):
        path.replace(target / path.name)
