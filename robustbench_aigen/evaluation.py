"""Runs scenarios: computes them, then writes the part of the report that is text beside the records."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustbench_aigen.data.image_data import as_image_data
from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml
from robustbench_aigen.engine import runner
from robustbench_aigen.engine.experiment import Experiment, experiment_in_memory
from robustbench_aigen.engine.lending import lent
from robustbench_aigen.engine.progress import Progress, Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import writing
from robustbench_aigen.runs.folder import read_run, write_info
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import TABLES_STEP, with_report_times
from robustbench_aigen.scenario.scenario import (
    Mode,
    Objective,
    Precision,
    RunSettings,
    Scenario,
    SsimRule,
    Trust,
)
from robustbench_aigen.stages.pipeline import expand
from robustbench_aigen.stages.stage import Stage, stage_from_dict
from robustbench_aigen.views.making import raise_faults
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
) -> Run:
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
    return _with_texts(result)


def _with_texts(result: Run) -> Run:
    """Write the tables and the texts of a run's report into its folder."""
    assert result.folder is not None
    clock = time.perf_counter()
    with writing(f"the report of '{result.folder}'"):
        faults = write_run_texts(result.folder)
        info = with_report_times(result.info, {TABLES_STEP: time.perf_counter() - clock})
        write_info(result.folder, info, read_run(result.folder).digests)
    raise_faults(faults, result.folder)
    return replace(result, info=info)


def evaluate(
    detector: Any,
    data: Any = "minigen",
    pipelines: Any = (),
    *,
    split: str | None = None,
    limit: int | None = None,
    threshold: float | str | None = None,
    objective: Objective = "both",
    mode: Mode = "accuracy",
    share_sweeps: bool = True,
    seed: int = 42,
    batch_size: int | None = None,
    precision: Precision = "auto",
    trust: Trust = "quick",
    ssim: SsimRule = "sample",
    device: Any = "auto",
    name: str = "evaluation",
    output: str | Path | None = None,
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | bool = False,
) -> Run:
    """Evaluate detectors on images, clean and through pipelines of attacks and perturbations.

    Parameters
    ----------
    detector
        A ``Detector``, any ``nn.Module`` (pixels in [0, 1] in, output 1 is fake), an id, a file, what a scenario may say
        of one, or several of these. Modules stay as they are: mode, gradient flags, device, weights.
    data
        ``minigen``, a folder or file, ``ImageData``, (images, labels), a data set of torch, or a data frame with the
        columns ``path`` and ``label``.
    pipelines
        Names to a stage or a list of stages, or stages alone, each a pipeline named after its recipe. ``clean`` is always
        run. A list of values for a parameter is a sweep.
    split
        By default ``test`` of named sources, and ``all`` in memory.
    limit
        At most so many images, stratified by class and generator.
    threshold
        From which score on an image is called fake: a number, ``youden``, ``fpr@0.01``, or None for the detector's own.
    objective, mode, share_sweeps, seed, batch_size, precision, trust, ssim
        As in a scenario.
    device
        ``auto``: a module in memory stays where it is; what is loaded goes to the best device.
    name
        Of the run.
    output
        Results folder; a run that was stopped continues when called again. None keeps everything in memory.
    fresh
        Compute everything again, also what is in the cache.
    trust_code
        Allow detectors' files that can run code when they are loaded.
    progress
        True for lines on standard error, or who is told how it goes.

    Raises
    ------
    UserError
        If detectors, images or pipelines are wrong: what, where, and what to do.
    """
    settings = {
        "name": name, "objective": objective, "mode": mode, "share_sweeps": share_sweeps, "seed": seed,
        "batch_size": batch_size, "precision": precision, "trust": trust, "ssim": ssim,
        "threshold": 0.5 if threshold is None else threshold,
    }  # fmt: skip
    checked = validated(RunSettings, LocatedYaml(NOWHERE, settings), "an evaluation")
    share = checked.mode == "accuracy" and checked.share_sweeps
    expanded = [
        pipeline for called, stages in _named(pipelines) for pipeline in expand(called, stages, share=share)
    ]
    detectors = detector if isinstance(detector, list | tuple) else [detector]
    clock = time.perf_counter()
    experiment = experiment_in_memory(
        detectors,
        as_image_data(data, split, limit),
        expanded,
        checked,
        threshold=None if threshold is None else checked.threshold,
        device=device,
        trust_code=trust_code,
    )
    shown = Printed() if progress is True else progress or None
    return run_experiment(experiment, output=output, fresh=fresh, progress=shown, clock=clock)


def run_experiment(
    experiment: Experiment,
    *,
    output: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    clock: float | None = None,
) -> Run:
    """Compute an experiment: with a results folder into a run folder with its texts, else into memory."""
    with lent(experiment):
        result = runner.run_experiment(experiment, output=output, fresh=fresh, progress=progress, clock=clock)
    return result if result.folder is None else _with_texts(result)


def _named(pipelines: Any) -> list[tuple[str, list[Stage]]]:
    """Return pipelines with their names; stages without are named after their recipes."""
    if isinstance(pipelines, Stage):
        pipelines = [pipelines]
    if isinstance(pipelines, Mapping):
        return [(str(name), _stages(name, stages)) for name, stages in pipelines.items()]
    named: list[tuple[str, list[Stage]]] = []
    for place, stages in enumerate(pipelines):
        listed = _stages(place, stages)
        called = " + ".join(stage.recipe.name for stage in listed)
        taken = sum(name.partition(" #")[0] == called for name, _ in named)
        named.append((called if not taken else f"{called} #{taken + 1}", listed))
    return named


def _stages(name: object, stages: Any) -> list[Stage]:
    listed = [stages] if isinstance(stages, Stage | Mapping) else list(stages)
    made = []
    for stage in listed:
        if not isinstance(stage, Stage | Mapping):
            raise UserError(
                f"pipeline '{name}' holds a {type(stage).__name__}",
                hint="give attacks.pgd(eps=4/255) or perturbations.jpeg()",
            )
        made.append(stage if isinstance(stage, Stage) else stage_from_dict(stage))
    return made


class Printed(Silent):
    """Progress as lines on standard error."""

    def notice(self, text: str) -> None:
        """Print a line for the user."""
        sys.stderr.write(f"{text}\n")

    def work_on(self, detector: str, pipeline: str) -> None:
        """Print what is computed now."""
        self.notice(f"{detector}: {pipeline}" if detector else pipeline)
