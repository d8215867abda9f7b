"""Writes a run in memory below a results folder."""

from dataclasses import replace
from pathlib import Path

from robustbench_aigen.runs.folder import write_run
from robustbench_aigen.runs.results_folder import run_folder
from robustbench_aigen.runs.run import Run
from robustbench_aigen.views.making import raise_faults
from robustbench_aigen.views.texts import write_run_texts

RESULTS = "results"
"""The usual results folder."""


def save_below(run: Run, output: str | Path) -> Run:
    """Write a run in memory into ``output/<name>/<run id>`` with the texts of its report; return the written run.

    Raises
    ------
    UserError
        If it cannot be written; after everything else is written, if a table of a plugin fails.
    """
    parent = Path(output) / run.info.scenario.name
    with run_folder(parent) as (run_id, folder):
        info = run.info.replace(run_id=run_id)
        digests = write_run(folder, info, run.records, run.summary, run.gallery)
        faults = write_run_texts(folder)
    raise_faults(faults, parent / run_id)
    return replace(run, info=info, folder=parent / run_id, digests=digests)
