"""Runs a scenario into a run folder."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.data.audit.inspection import glance
from robustbench_aigen.data.layouts.exported import ExportedSource
from robustbench_aigen.data.samples import fingerprint
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.remote.network import is_remote, services_of
from robustbench_aigen.detectors.remote.service import usage_text
from robustbench_aigen.detectors.thresholds import fit_threshold
from robustbench_aigen.engine.distribution import HERE, Spread
from robustbench_aigen.engine.examination import examine_detectors
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment, make_experiment
from robustbench_aigen.engine.gallery import choose_gallery, gallery_candidates
from robustbench_aigen.engine.insights import with_insights
from robustbench_aigen.engine.output_check import read_detectors
from robustbench_aigen.engine.probing import Probing, Unchecked, quality_of
from robustbench_aigen.engine.progress import Progress, Recording, Silent, WithoutNotices
from robustbench_aigen.engine.provenance import hardware
from robustbench_aigen.engine.query_bounds import describe_queries
from robustbench_aigen.engine.shards import Shard, make_shards, repeated
from robustbench_aigen.engine.sizes import smaller_than_crops
from robustbench_aigen.engine.spreading import check_spread, spread
from robustbench_aigen.engine.ssim_sample import ssim_counts, ssim_sample
from robustbench_aigen.engine.store import Cache, MemoryCache, open_store
from robustbench_aigen.engine.timing import Steps
from robustbench_aigen.engine.until_narrow import until_narrow
from robustbench_aigen.errors import UserError, printable
from robustbench_aigen.metrics.conformal import fit_band
from robustbench_aigen.metrics.giving_up import largest_price
from robustbench_aigen.metrics.summary import COLUMNS, summarise
from robustbench_aigen.notices import about, warning
from robustbench_aigen.numerics.seeding import seeded_global_rng
from robustbench_aigen.perturbations.model_files import models_of
from robustbench_aigen.runs.folder import no_gallery, write_run
from robustbench_aigen.runs.info import RunInfo, TimingInfo
from robustbench_aigen.runs.migrations import FORMAT
from robustbench_aigen.runs.plugins import noted_plugins
from robustbench_aigen.runs.results_folder import run_folder
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import OUTPUT_CHECK_STEP, WORKERS_STEP
from robustbench_aigen.runs.versions import git_revision, package_versions
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.scenario.scenario import Scenario, load_scenario
from robustbench_aigen.scenario.words import shell_word, storable
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.trust.check import Checks, flag_names
from robustbench_aigen.trust.records import add_trust, raised_by_records


class Computed(NamedTuple):
    """Results of an experiment: records, summary, gallery, and ``run.json`` without its times."""

    info: Mapping[str, object]
    records: pd.DataFrame
    summary: pd.DataFrame
    gallery: pd.DataFrame
    execution: Execution


def run(
    loaded: Scenario | str | Path,
    *,
    output: str | Path = "results",
    device: str = "auto",
    fresh: bool = False,
    trust_code: bool = False,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    plan: Spread = HERE,
    half_width: float | None = None,
    notices: Sequence[str] = (),
) -> Run:
    """Compute a scenario into a run folder; the parameters are those of :func:`robustbench_aigen.evaluation.run`."""
    clock = time.perf_counter()
    progress = Recording(progress or Silent())
    progress.start(0)
    progress.work_on("", "loading detectors and data")
    progress.notice_all(notices)
    output = _writable(output)
    if not isinstance(loaded, Scenario):
        loaded = load_scenario(loaded)
    with seeded_global_rng("a run"):
        # Detectors that draw are also read when they are loaded, outside of any cell.
        experiment = make_experiment(loaded, device=device, trust_code=trust_code)
    spread_over = partial(
        run_experiment,
        fresh=fresh,
        cache=_store_of(output, cache),
        plan=_on_all_devices(plan, device),
        all_devices=device == "cuda",
    )
    if half_width is not None:
        experiment, told = until_narrow(
            experiment, half_width, partial(spread_over, output=None, progress=WithoutNotices(progress))
        )
        progress.notice(told)
    return spread_over(experiment, output=output, progress=progress, clock=clock)


def run_experiment(
    experiment: Experiment,
    *,
    output: str | Path | None,
    fresh: bool = False,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    clock: float | None = None,
    plan: Spread = HERE,
    all_devices: bool = False,
) -> Run:
    """Compute an experiment into a run folder, or into memory where ``output`` is None.

    Parameters
    ----------
    experiment
        The experiment to compute.
    output, fresh, cache
        As for :func:`robustbench_aigen.evaluation.run`.
    progress
        The receiver of the progress.
    clock
        When the work began, in seconds of ``time.perf_counter``.
    plan, all_devices
        Where shards are computed, and whether on all visible GPUs.
    """
    clock = time.perf_counter() if clock is None else clock
    recording = progress if isinstance(progress, Recording) else Recording(progress or Silent())
    place = _store_of(output, cache)
    if plan.engine != "local":
        check_spread(experiment, place)
    store: Cache = MemoryCache() if place is None else open_store(place, fresh=fresh)

    def elsewhere(execution: Execution, shards: list[Shard]) -> None:
        if plan.engine != "local" and place is not None:
            with execution.steps.timed(WORKERS_STEP):
                spread(execution, shards, plan, place, fresh=fresh, all_devices=all_devices)

    services = services_of(*experiment.detectors, *experiment.surrogates.values())
    for service in services:
        service.begin(store.folder, fresh=fresh, tell=recording.notice)
    done = _computed(experiment, store, recording, clock, elsewhere)

    def info(run_id: str) -> RunInfo:
        times = _times(done.execution, time.perf_counter() - clock)
        return RunInfo.of({"run_id": run_id, **done.info, **times})

    computed = partial(Run.computed, records=done.records, summary=done.summary, gallery=done.gallery)
    if output is None:
        return computed(info(datetime.now(UTC).strftime("%Y%m%d-%H%M%S")))
    parent = _writable(output) / experiment.scenario.name
    with run_folder(parent) as (run_id, folder):
        written = info(run_id)
        digests = write_run(folder, written, done.records, done.summary, done.gallery)
    return computed(written, folder=parent / run_id, digests=digests)


@seeded_global_rng("a run")  # Detectors that draw are also read on validation images, outside of any cell.
def _computed(
    experiment: Experiment,
    cache: Cache,
    progress: Recording,
    clock: float,
    elsewhere: Callable[[Execution, list[Shard]], None],
) -> Computed:
    """Compute an experiment; ``elsewhere`` may put shards into the store before the run reads them."""
    started = datetime.now(UTC)
    execution = Execution(experiment, cache, progress)
    steps = execution.steps
    steps.add("setup", time.perf_counter() - clock)
    with steps.timed(OUTPUT_CHECK_STEP):
        progress.work_on("", "output check on labelled images")
        experiment, checked = read_detectors(experiment)
        execution.experiment = experiment
        checks = Checks()
        examined = examine_detectors(experiment, execution.cache, checks)
    asked = describe_queries(experiment)
    progress.notice_all([*experiment.described_data(), *experiment.notices(), *asked, *checked])
    with steps.timed("audit"):
        progress.work_on("", "audit of formats and sizes")
        stored = glance(experiment.selection.source, experiment.selection.indices)
    if stored.call == "confound":
        progress.notice(
            warning(f"{stored.sentence()}; see robust-aigen audit, whose --fix writes an equalised copy")
        )
    progress.notice_all(smaller_than_crops(experiment.selection, experiment.detectors))
    if isinstance(experiment.scenario.threshold, str) or experiment.scenario.unsure is not None:
        experiment = _calibrated(experiment, execution)
        execution.experiment = experiment
    experiment = with_insights(experiment, execution.cache)
    execution.experiment = experiment
    progress.notice_all(
        [
            about(name, text)
            for name, found in (experiment.insights or {}).items()
            if (text := found.described())
        ]
    )
    with steps.timed("hashing"):
        progress.start(0)
        progress.work_on("", "hashing the images")
        shards = _shards(experiment)
    progress.notice_all(repeated(shards))
    elsewhere(execution, shards)
    records = execution.records(shards)
    probes = Probing(execution, shards, records, clock, checks).run()
    probed = [*examined, *probes.measured]
    with steps.timed("summary"):
        raised = raised_by_records(records, experiment.pipelines, quality_of(shards), checks)
        raised += [flag for found in probed for flag in found.raised()]
        summary = add_trust(
            summarise(
                records,
                experiment.pipelines,
                experiment.settings.mode,
                progress.notice,
                experiment.scenario.metrics,
                experiment.confidence,
            ),
            raised,
        )
    for name, own in records.groupby("detector", sort=False, observed=True):
        if text := largest_price(own):
            progress.notice(about(str(name), text))
    measured = ssim_counts(records)
    services = services_of(*experiment.detectors, *experiment.surrogates.values())
    progress.notice_all([about(service.name, usage_text(service)) for service in services])
    progress.notice_all(
        [*execution.cache.notices(), *measured.notices(experiment.scenario.ssim), *checks.notices()]
    )
    info = {
        **_run_info(experiment, execution, shards, started),
        **_added_columns(summary),
        "plugins": noted_plugins(),
        "ssim": measured._asdict(),
        "notices": [notice.as_dict() for notice in progress.notices],
        "audit": stored.as_dict(),
        "trust": {
            "flags": [flag._asdict() for flag in raised],
            "mode": experiment.scenario.trust,
            "probes": [found.as_dict() for found in probed],
            "unchecked": [
                left.as_dict()
                for left in (*probes.unchecked, *_failed(checks, experiment), *_unrepeated(experiment))
            ],
            **({"checks": checks.added()} if checks.added() else {}),
        },
    }
    gallery = choose_gallery(execution.kept, shards) if len(execution.kept) else no_gallery()
    return Computed(info, records, summary, gallery, execution)


def _store_of(output: str | Path | None, cache: str | Path | None) -> str | None:
    """Return the folder or URL of finished shards; None for a run in memory."""
    if cache is not None:
        return cache if isinstance(cache, str) and "://" in cache else str(Path(cache).absolute())
    return None if output is None else str((_writable(output) / ".cache").absolute())


def _on_all_devices(plan: Spread, device: str) -> Spread:
    """Return a plan with a process for each GPU, where ``cuda`` names several and no engine is chosen."""
    if plan.engine == "local" and device == "cuda" and torch.cuda.device_count() > 1:
        return plan._replace(engine="processes")
    return plan


def _failed(checks: Checks, experiment: Experiment) -> list[Unchecked]:
    """Return the flags of the checks that failed; these flags are not computed for any cell."""
    names = tuple(pipeline.name for pipeline in experiment.pipelines)
    return [
        Unchecked(detector.name, names, (flag,), f"the check fails: {said}")
        for flag, said in checks.failed.items()
        for detector in experiment.detectors
    ]


def _unrepeated(experiment: Experiment) -> list[Unchecked]:
    """Return the flags that need repeated answers, for detectors that answer each image once."""
    names = tuple(pipeline.name for pipeline in experiment.pipelines)
    reason = "each image is sent once, and its stored answer is used from then on"
    return [
        Unchecked(detector.name, names, flag_names("repeats"), reason)
        for detector in experiment.detectors
        if is_remote(detector)
    ]


def _added_columns(summary: pd.DataFrame) -> dict[str, object]:
    """Return which columns of a summary are added metrics, those of plugins for instance, where there are some."""
    added = [name for name in summary if name not in COLUMNS]
    return {"metrics": added} if added else {}


def _shards(experiment: Experiment) -> list[Shard]:
    """Cut the images of an experiment into shards, and choose the images for gallery and SSIM."""
    samples = experiment.selection.samples
    measured = ssim_sample(samples, experiment.scenario.ssim)
    keeps_all = experiment.scenario.keep_images == "all"
    kept = frozenset(sample.id for sample in samples) if keeps_all else gallery_candidates(samples)
    return list(make_shards(experiment.selection, kept, measured, whole=keeps_all))


def _writable(output: str | Path) -> Path:
    """Return the results folder; libraries that write tables take no name that is not UTF-8."""
    try:
        str(Path(output).absolute()).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the results folder '{output}' has a name that is not UTF-8", hint="choose another --output"
        ) from error
    return Path(output)


def _times(execution: Execution, seconds: float) -> dict[str, object]:
    """Return the timings of a run so far, which add up to its seconds."""
    rows = [*map(TimingInfo.of, execution.timings), *execution.steps.rows]
    rest = Steps()
    rest.add("other", max(0.0, seconds - sum(row.seconds for row in rows)))
    timings = [*rows, *rest.rows]
    return {
        "seconds": round(sum(row.seconds for row in timings), 3),
        "timings": [row.to_dict() for row in timings],
    }


def _calibrated(experiment: Experiment, execution: Execution) -> Experiment:
    """Return the experiment with thresholds and unsure bands fitted on the clean validation split of the source."""
    scenario = experiment.scenario
    rule = scenario.threshold if isinstance(scenario.threshold, str) else None
    where = scenario.where("threshold" if rule is not None else "unsure")
    try:
        validation = list(make_shards(select(experiment.selection.source, "val", None)))
    except UserError as error:
        raise error.at(where) from error
    cells = [experiment.cell(detector, Pipeline(CLEAN, ())) for detector in experiment.detectors]
    frames = execution.cell_records(cells, validation)
    for timing in execution.timings:
        timing["pipeline"] = "clean (validation split)"
    thresholds, bands = dict(experiment.thresholds), {}
    for detector, frame in zip(experiment.detectors, frames, strict=True):
        log_odds, labels = frame["log_odds"].to_numpy(), frame["label"].to_numpy()
        if rule is not None:
            if len(np.unique(labels)) < 2:
                raise UserError(f"'{rule}' needs both classes in the validation split", source=where)
            thresholds[detector.name] = fit_threshold(rule, log_odds, labels)
        if scenario.unsure is not None:
            try:
                bands[detector.name] = fit_band(log_odds, labels, scenario.unsure)
            except UserError as error:
                raise error.at(scenario.where("unsure")) from error
    return experiment.replaced(thresholds=thresholds, bands=bands or None)


def _run_info(
    experiment: Experiment, execution: Execution, shards: list[Shard], started: datetime
) -> dict[str, object]:
    chosen = [sample for shard in shards for sample in shard.samples]
    # Unreadable images of the validation split, where a threshold was fitted, do not count here.
    ids = {sample.id for sample in chosen}
    problems = [problem for problem in execution.problems if problem.sample in ids]
    unreadable = {problem.sample for problem in problems}
    samples = [sample for sample in chosen if sample.id not in unreadable]
    scenario = experiment.scenario
    return {
        "format": FORMAT,
        "scenario": storable(_described(experiment)),
        "command": _command(experiment),
        "pipelines": [pipeline.to_dict() for pipeline in experiment.pipelines],
        "seed": scenario.seed,
        "started": started.isoformat(timespec="seconds"),
        "data": {
            "source": printable(_title(experiment)),
            "layout": experiment.selection.source.layout,
            "split": experiment.selection.split,
            "images": len(samples),
            "real": sum(sample.label == 0 for sample in samples),
            "fake": sum(sample.label == 1 for sample in samples),
            "generators": sorted({sample.generator for sample in samples if sample.label == 1}),
            "fingerprint": fingerprint(image for shard in shards for image in shard.identity()),
            "unreadable": [problem._asdict() for problem in problems],
            **_exported_cells(experiment),
        },
        "detectors": [
            {
                **_network(detector),
                "threshold": experiment.thresholds[detector.name].score,
                "threshold_log_odds": experiment.thresholds[detector.name].log_odds,
                "input_size": detector.preprocessing.input_size,
                "differentiable": detector.differentiable,
                **({"unsure": asdict(experiment.bands[detector.name])} if experiment.bands else {}),
            }
            for detector in experiment.detectors
        ],
        **_models(experiment),
        "precision": experiment.settings.precision,
        "packages": package_versions(),
        "git_revision": git_revision(),
        "hardware": hardware(experiment.device),
    }


def _network(detector: Detector) -> dict[str, object]:
    """Return name, weights and preprocessing of a detector; of an ensemble, also those of its members."""
    members = detector.members if isinstance(detector, Ensemble) else []
    return {
        "name": detector.name,
        "architecture": detector.architecture,
        "weights_sha256": detector.weights_sha256,
        "preprocessing": asdict(detector.preprocessing),
        **({"members": [_network(member) for member in members]} if members else {}),
    }


def _models(experiment: Experiment) -> dict[str, object]:
    """Return the hashes of the models that perturbations compute with, if there are any."""
    models = models_of(stage for pipeline in experiment.pipelines for stage in pipeline.stages)
    named = [{"model": model, "sha256": digest} for model, digest in models.items()]
    return {"models": named} if named else {}


def _exported_cells(experiment: Experiment) -> dict[str, object]:
    """Return the cells of an exported set, where the images are one."""
    source = experiment.selection.source
    return {"exported": source.cells} if isinstance(source, ExportedSource) else {}


def _described(experiment: Experiment) -> dict[str, object]:
    """Return the scenario as plain values; detectors and images in memory by their names and identities."""
    settings = experiment.scenario.model_dump(mode="json")
    if isinstance(experiment.scenario, Scenario):
        return settings
    return {
        **settings,
        "data": {"memory": experiment.selection.source.name},
        "detectors": [
            {"memory": detector.name, "identity": detector.weights_sha256}
            if spec is None
            else spec.model_dump(mode="json", exclude_unset=True)
            for spec, detector in zip(experiment.specs, experiment.detectors, strict=True)
        ],
        "pipelines": {
            pipeline.name: [stage.written() for stage in pipeline.stages] for pipeline in experiment.pipelines
        },
    }


def _title(experiment: Experiment) -> str:
    scenario = experiment.scenario
    return scenario.data.title if isinstance(scenario, Scenario) else experiment.selection.source.name


def _data_argument(data: DataSpec) -> str:
    """Return the ``--data`` of a command: the source alone, or the section as JSON if it has more keys."""
    declared = data.model_dump(mode="json", exclude_unset=True, exclude={"split", "limit"}, exclude_none=True)
    return (
        str(declared["source"]) if declared.keys() == {"source"} else json.dumps(declared, ensure_ascii=False)
    )


def _command(experiment: Experiment) -> str | None:
    """Return the command line that runs a scenario with what was replaced in it; None where there is no file."""
    scenario = experiment.scenario
    if not isinstance(scenario, Scenario) or scenario.file is None:
        return None
    file = scenario.file
    shipped = {**shipped_files("scenarios"), **shipped_files("protocols")}
    name = file.stem if shipped.get(file.stem) == file.resolve() else str(file)
    words = ["robust-aigen", "run", name]
    if "detectors" in scenario.replaced_keys:
        for spec in scenario.detectors:
            words += ["--detector", spec.argument]
        words += ["--arch", scenario.detectors[0].arch] if scenario.detectors[0].arch else []
    if "data" in scenario.replaced_keys:
        words += ["--data", _data_argument(scenario.data), "--split", scenario.data.split]
        words += ["--limit", str(scenario.data.limit)] if scenario.data.limit else []
    if "precision" in scenario.replaced_keys:
        words += ["--precision", scenario.precision]
    if "trust" in scenario.replaced_keys:
        words += ["--trust", scenario.trust]
    if experiment.trust_code:
        words.append("--trust-code")
    return " ".join(shell_word(word) for word in words)
