"""Evaluation of detectors: runs scenarios, then writes the text reports beside the records."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from robustbench_aigen.data.image_data import DataLike
from robustbench_aigen.data.layouts.exported import read_exported
from robustbench_aigen.detectors.remote.network import services_of
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.engine import runner
from robustbench_aigen.engine.distribution import Engine, Spread
from robustbench_aigen.engine.estimate import estimate_cells
from robustbench_aigen.engine.experiment import DetectorLike, Experiment, make_experiment
from robustbench_aigen.engine.lending import lent
from robustbench_aigen.engine.pilot import Pilot, estimated_cells, pilot
from robustbench_aigen.engine.pipelines_like import PipelinesLike
from robustbench_aigen.engine.progress import Progress, Silent
from robustbench_aigen.engine.time_budget import fitted_to
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import writing
from robustbench_aigen.numerics.threads import using_threads
from robustbench_aigen.runs.export import Reproduced, reproduced
from robustbench_aigen.runs.folder import write_info
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import TABLES_STEP, with_report_times
from robustbench_aigen.scenario.scenario import (
    KeepImages,
    Mode,
    Objective,
    Precision,
    Scenario,
    SsimRule,
    Trust,
    with_detectors,
)
from robustbench_aigen.suites.suite import newest_suite
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
    threads: int | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    seconds: float | None = None,
    half_width: float | None = None,
) -> Run:
    """Run a scenario and write records, tables and a report in Markdown and LaTeX into a run folder.

    Parameters
    ----------
    loaded
        A scenario file, the name of a shipped one, or a :class:`robustbench_aigen.Scenario`.
    output
        The results folder; the run lands in ``output/<scenario>/<run id>``, finished shards in ``output/.cache``.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    fresh
        Compute every shard again.
    trust_code
        Allow detectors' files that can run code when they are loaded.
    progress
        Receives the progress.
    cache
        Folder of finished shards instead, for results folders that share them; or a URL of fsspec, ``s3://bucket/runs``.
    threads
        Threads that decode, hash and perturb images; by default the available cores. The records do not depend on it.
    engine
        Where shards are computed: ``local``, in this process; ``processes`` of this machine; or ``ray``.
    workers
        Number of processes, or of Ray's actors; by default one for each core or GPU.
    address
        Address of a Ray cluster, such as ``auto``; by default Ray is started on this machine.
    seconds
        Time of the whole call: as many images are evaluated, stratified, as fit into it by a measurement.
    half_width
        Images are added in a fixed order until no interval of an accuracy is wider than twice this fraction.

    Raises
    ------
    UserError
        If the input is wrong. Only finished shards are then kept.
    SetAsideError
        If some shards failed on workers on every attempt. All others are kept.
    """
    plan, began, told = Spread(engine, workers, address), time.perf_counter(), ""
    plan.check()
    if seconds is not None and half_width is not None:
        raise UserError(
            "a time and a width of the intervals both choose the number of images", hint="give one of them"
        )
    with using_threads(threads):
        if seconds is not None:
            loaded = loaded if isinstance(loaded, Scenario) else Scenario.from_yaml(loaded)
            loaded, told = fitted_to(
                seconds,
                loaded,
                lambda part: make_experiment(part, device=device, trust_code=trust_code),
                _in_memory,
                began,
            )
        result = runner.run(
            loaded,
            output=output,
            device=device,
            fresh=fresh,
            trust_code=trust_code,
            progress=progress,
            cache=cache,
            plan=plan,
            half_width=half_width,
            notices=[told] if told else [],
        )
        return _with_texts(result)


def estimate(experiment: Experiment) -> pd.DataFrame:
    """Return ``detector, pipeline, images, seconds, …`` per cell; see :meth:`Experiment.estimate`."""
    if services_of(*experiment.detectors, *experiment.surrogates.values()):
        return estimate_cells(experiment)
    return estimated_cells(experiment, pilot_of(experiment))


def pilot_of(experiment: Experiment) -> Pilot:
    """Return a pilot of an experiment whose last part takes at most 15 seconds, or a fiftieth of the whole."""
    trust = experiment.scenario.trust
    return pilot(
        experiment, _in_memory, lambda done: max(15.0, 0.02 * done.seconds(done.whole, trust).likely)
    )


def _in_memory(experiment: Experiment, progress: Progress) -> Run:
    return runner.run_experiment(experiment, output=None, progress=progress)


def _with_texts(result: Run) -> Run:
    """Write the tables and the texts of a run's report into its folder."""
    clock = time.perf_counter()
    with writing(f"the report of '{result.path}'"):
        faults = write_run_texts(result.path)
        info = with_report_times(result.info, {TABLES_STEP: time.perf_counter() - clock})
        write_info(result.path, info, result.digests)
    raise_faults(faults, result.path)
    return replace(result, info=info)


def evaluate(
    detector: DetectorLike | Sequence[DetectorLike],
    data: DataLike = "minigen",
    pipelines: PipelinesLike = (),
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
    device: str | torch.device = "auto",
    name: str = "evaluation",
    output: str | Path | None = None,
    keep_images: KeepImages = "some",
    trust: Trust = "quick",
    ssim: SsimRule = "sample",
    metrics: Sequence[str] = (),
    unsure: float | None = None,
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | bool = False,
    threads: int | None = None,
) -> Run:
    """Evaluate detectors on images, clean and through pipelines of attacks and perturbations.

    Parameters
    ----------
    detector
        A ``Detector``, any ``nn.Module`` (pixels in [0, 1] in, output 1 is fake), an id, a file, a mapping as in a
        scenario, or several of these. Modules keep their mode, gradient flags, device and weights.
    data
        ``minigen``, a folder or file, ``ImageData``, (images, labels), a data set of torch, or a data frame with the
        columns ``path`` and ``label``.
    pipelines
        A mapping from names to a stage or a list of stages, or a sequence of stages, each a pipeline named after its
        recipe. ``clean`` is always run. A list of values for a parameter is a sweep.
    split
        The split to evaluate; by default ``test`` for named sources and ``all`` for images in memory.
    limit
        Largest number of images, stratified by class and generator.
    threshold
        The score from which on an image is called fake: a number, ``youden``, ``fpr@0.01``, or None for the detector's
        own.
    objective, mode, share_sweeps, seed, batch_size, precision
        As in a scenario.
    device
        ``auto``: a module in memory stays on its device; a loaded detector goes to the best device.
    name
        Name of the run.
    output
        Results folder; a run that was stopped continues when called again. None keeps everything in memory.
    keep_images
        ``some``: a few attacked images for the report. ``all``: every attacked image, whole.
    trust
        Depth of the trust checks: ``quick``, ``full`` or ``off``.
    ssim
        The images on which SSIM is measured: ``sample``, ``all`` or ``off``.
    metrics
        Optional metrics to add to the summary, such as ``eer``.
    unsure
        The share of images of each class, such as 0.1, that may lose their class in an unsure band, which is fitted on
        the clean validation split; the report has its coverage under each pipeline.
    fresh
        Compute everything again and ignore the cache.
    trust_code
        Allow detectors' files that can run code when they are loaded.
    progress
        True for lines on standard error, or an object that receives the progress.
    threads
        Threads that decode, hash and perturb images; by default the available cores. The records do not depend on it.

    Raises
    ------
    UserError
        If detectors, images or pipelines are wrong. The error says what is wrong, where, and what to type.
    """
    clock = time.perf_counter()
    told = as_progress(progress)
    if not isinstance(output, str | Path | None):
        raise UserError(f"output is a {type(output).__name__}", hint="output='results', or None for memory")
    with using_threads(threads):
        experiment = Experiment(
            detector, data, pipelines, split=split, limit=limit, threshold=threshold, objective=objective, mode=mode,
            share_sweeps=share_sweeps, seed=seed, batch_size=batch_size, precision=precision, device=device, name=name,
            keep_images=keep_images, trust=trust, ssim=ssim,
            metrics=metrics, unsure=unsure, trust_code=trust_code,
        )  # fmt: skip
        return run_experiment(experiment, output=output, fresh=fresh, progress=told, clock=clock)


def benchmark(
    detector: DetectorLike,
    suite: str = "standard",
    *,
    data: DataLike | None = None,
    split: str | None = None,
    limit: int | None = None,
    threshold: float | str | None = None,
    device: str | torch.device = "auto",
    output: str | Path | None = None,
    trust_code: bool = False,
    progress: Progress | bool = False,
) -> Run:
    """Evaluate a detector on a fixed suite, so that the numbers of different detectors are comparable.

    A suite fixes images, attacks, budgets and degradations, and never changes: a new version gets a new name. The run
    has the name of the suite with its version.

    Parameters
    ----------
    detector
        As for :func:`evaluate`.
    suite
        ``standard``; ``quick``, which has a tenth of the images; ``cifake``; ``own``, which takes your images; or a
        suite with its version, ``standard_v1``.
    data
        The images for suite ``own``, or a copy of CIFAKE, as for :func:`evaluate`.
    split
        The split of the images for suite ``own``.
    limit
        Largest number of images, stratified by class and generator. The name of the run then contains the limit.
    threshold, device, output, trust_code, progress
        As for :func:`evaluate`.

    Raises
    ------
    UserError
        If the suite does not exist, the detector is wrong, or the images are missing or not those of the suite.
    """
    chosen = newest_suite(suite)
    scenario = chosen.scenario
    most = scenario.data.limit
    is_part = limit is not None and (most is None or limit < most)
    return evaluate(
        detector,
        chosen.data(data, split, limit),
        scenario.pipelines,
        threshold=threshold,
        seed=scenario.seed,
        device=device,
        name=f"{scenario.name}-limit{limit}" if is_part else scenario.name,
        output=output,
        trust_code=trust_code,
        progress=progress,
    )


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


def rescore(
    folder: str | Path,
    *,
    detectors: Sequence[str] = (),
    arch: str | None = None,
    output: str | Path | None = "results",
    device: str = "auto",
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | None = None,
) -> tuple[Run, list[Reproduced]]:
    """Score detectors on an exported adversarial set, without an attack.

    Parameters
    ----------
    folder
        The exported set.
    detectors
        Ids or files of detectors; by default those that the set was made against. The threshold of the latter is that
        of the exported run; others have 0.5.
    arch
        Architecture of the weights in ``detectors``.
    output, device, fresh, trust_code, progress
        As in :func:`run`; ``output=None`` keeps the run in memory.

    Returns
    -------
    tuple
        The run, and for each cell whose attacked detector was scored the number of verdicts that are those of the
        exported run.

    Raises
    ------
    UserError
        If the set does not fit its manifest, or a detector cannot be loaded.
    """
    clock = time.perf_counter()
    exported = read_exported(Path(folder))
    declared = [each["declared"] for each in exported.content["detectors"]]
    if not detectors and any(each is None or "memory" in each for each in declared):
        raise UserError(
            f"the exported set '{folder}' was made against a detector in memory",
            hint="name one with --detector",
        )
    given = {"source": str(Path(folder).absolute()), "split": "all"}
    scenario = Scenario.from_dict(
        {
            "version": 1,
            "name": f"{exported.content['name']}_exported",
            "data": given,
            "detectors": list(detectors) or declared,
            "pipelines": {},
        }
    )
    if detectors:
        scenario = with_detectors(scenario, detectors, arch, Path.cwd())
    experiment = make_experiment(scenario, device=device, trust_code=trust_code)
    known = {
        each["weights_sha256"]: Threshold(each["threshold_log_odds"], each["threshold"])
        for each in exported.content["detectors"]
    }
    thresholds = {
        each.name: known.get(each.weights_sha256, experiment.thresholds[each.name])
        for each in experiment.detectors
    }
    done = run_experiment(
        experiment.replaced(thresholds=thresholds), output=output, fresh=fresh, progress=progress, clock=clock
    )
    return done, reproduced(done, exported)


def as_progress(progress: Progress | bool) -> Progress | None:
    """Return the object that receives the progress; True means lines on standard error."""
    if not isinstance(progress, bool) and not hasattr(progress, "work_on"):
        raise UserError(
            f"progress is a {type(progress).__name__}", hint="progress=True for lines on standard error"
        )
    return Printed() if progress is True else progress or None


class Printed(Silent):
    """Progress as lines on standard error."""

    def notice(self, text: str) -> None:
        """Print a line for the user."""
        sys.stderr.write(f"{text}\n")

    def work_on(self, detector: str, pipeline: str) -> None:
        """Print the name of the current cell or step."""
        self.notice(f"{detector}: {pipeline}" if detector else pipeline)
