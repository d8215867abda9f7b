"""Runs scenarios: computes them, then writes the part of the report that is text beside the records."""

import time
from dataclasses import replace
from pathlib import Path

from robustbench_aigen.engine import runner
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.runner import RunResult
from robustbench_aigen.files import writing
from robustbench_aigen.runs.folder import read_run, write_info
from robustbench_aigen.runs.timings import TABLES_STEP, with_report_times
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.views.texts import write_run_texts


def run(
    loaded: Scenario | str | Path,
    *,
    output: str | Path = "results",
    device: str = "auto",
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | None = None,
    cache: str | Path | None = None,
) -> RunResult:
    """Run a scenario and write records, tables and a report in Markdown and LaTeX into a run folder.

    Parameters
    ----------
    loaded
        A scenario file, the name of a shipped one, or what :func:`robustbench_aigen.load_scenario` returned.
    output
        The results folder; the run lands in ``output/<scenario>/<run id>``, finished shards in ``output/.cache``.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    fresh
        Compute every shard again.
    trust_code
        Allow detectors' files that can run code when they are loaded.
    progress
        Who is told how it goes.
    cache
        Where finished shards are instead, for runs of several results folders that share them.

    Raises
    ------
    UserError
        If the input is at fault. Nothing but finished shards is left behind.
    """
    result = runner.run(
        loaded,
        output=output,
        device=device,
        fresh=fresh,
        trust_code=trust_code,
        progress=progress,
        cache=cache,
    )
    clock = time.perf_counter()
    with writing(f"the report of '{result.folder}'"):
        write_run_texts(result.folder)
        info = with_report_times(result.info, {TABLES_STEP: time.perf_counter() - clock})
        write_info(result.folder, info, read_run(result.folder).digests)
    return replace(result, info=info)
