"""Computes the missing shards of a run on workers, before the run reads them from its store."""

from collections.abc import Sequence

import torch

from robustbench_aigen.detectors.remote.network import is_remote
from robustbench_aigen.engine.distribution import Spread, Workers, distribute, missing_jobs
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment
from robustbench_aigen.engine.process_workers import ProcessWorkers
from robustbench_aigen.engine.shards import Shard
from robustbench_aigen.engine.worker import Assignment, fake_index
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.threads import available_cores, wanted_threads
from robustbench_aigen.registry import plugin_contents
from robustbench_aigen.scenario.scenario import Scenario


def check_spread(experiment: Experiment, store: str | None) -> None:
    """Raise UserError if an experiment cannot be computed by other processes."""
    if not isinstance(experiment.scenario, Scenario) or store is None:
        raise UserError(
            "detectors or images in memory are computed in this process",
            hint="write a scenario with files, and an output folder",
        )
    for detector in (*experiment.detectors, *experiment.surrogates.values()):
        if is_remote(detector):
            raise UserError(
                f"'{detector.name}' is a service behind HTTP, whose budget one process keeps",
                hint="leave --engine out",
            )


def spread(
    execution: Execution, shards: Sequence[Shard], plan: Spread, store: str, *, fresh: bool, all_devices: bool
) -> None:
    """Compute the missing shards of a run on workers.

    Parameters
    ----------
    execution, shards
        The run and its shards.
    plan
        The workers.
    store, fresh
        The folder or URL of finished shards, and whether those of earlier runs are ignored.
    all_devices
        Whether to use all visible GPUs, not only that of the experiment.
    """
    jobs = missing_jobs(execution, shards)
    if not jobs:
        return
    experiment = execution.experiment
    assert isinstance(experiment.scenario, Scenario)
    devices = _devices(experiment.device, all_devices=all_devices)
    count = plan.workers or max(len(devices), available_cores() if experiment.device.type == "cpu" else 1)
    count = min(count, len(jobs))
    local = max(1, available_cores() // count) if plan.engine == "processes" else 1
    threads = wanted_threads() or local
    assignment = Assignment(
        experiment.scenario, experiment.trust_code, tuple(map(str, plugin_contents())), experiment.thresholds, experiment.insights,
        (tuple(map(fake_index, experiment.detectors)), tuple(map(fake_index, experiment.surrogates.values()))),
        store, fresh, threads, min(threads, torch.get_num_threads()),
    )  # fmt: skip
    workers: Workers
    if plan.engine == "ray":
        from robustbench_aigen.engine.ray_workers import RayWorkers

        workers = RayWorkers(assignment, plan.address, plan.workers, experiment.device.type)
    else:
        workers = ProcessWorkers(assignment, [devices[number % len(devices)] for number in range(count)])
    try:
        distribute(execution, jobs, workers)
    finally:
        workers.close()


def _devices(device: torch.device, *, all_devices: bool) -> list[str]:
    if device.type != "cuda" or not all_devices:
        return [str(device)]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
