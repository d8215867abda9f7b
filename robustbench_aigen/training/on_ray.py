"""Independent trainings as tasks of Ray."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from robustbench_aigen.engine.progress import Progress, Recording, Silent
from robustbench_aigen.engine.ray_workers import connected
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.jobs import Job, Trained, input_size_of, train_job

_TRIES = 2
"""Further tries of a training whose worker ended; it resumes from its last checkpoint."""


def train_on_ray(
    jobs: Sequence[Job],
    output: Path,
    *,
    address: str | None,
    threads: int,
    device: torch.device,
    half: bool,
    fresh: bool,
    progress: Progress,
    finished: Callable[[Trained], None] | None = None,
) -> list[Trained]:
    """Train each job as a task, and return the trainings in the order of the jobs.

    Every machine reads the images and writes below ``output`` itself: both are on a shared file system.

    Parameters
    ----------
    jobs, output, device, half, fresh, progress
        As for :func:`robustbench_aigen.training.jobs.train_job`.
    address
        Address of a cluster; None starts Ray on this machine.
    threads
        Cores of a training.
    finished
        Called with each training as it ends.

    Raises
    ------
    UserError
        If Ray is missing, or trainings failed. The others are finished first.
    """
    for job in jobs:
        # Two tasks would write the same images at once.
        images = [*job.splits.train, *job.splits.val]
        LevelStore(output / ".images", job.splits.source, images, input_size_of(job.settings), progress)
    ray, owns = connected(address, None, "train --engine ray")
    task = ray.remote(
        num_cpus=threads,
        num_gpus=1 if device.type == "cuda" else 0,
        max_retries=_TRIES,
        retry_exceptions=False,
    )(_train)
    progress.start(0)
    progress.work_on("", f"{len(jobs)} trainings as tasks of Ray")
    try:
        waiting = {task.remote(job, output.absolute(), device, half, fresh, threads): job for job in jobs}
        done: dict[str, Trained] = {}
        failed: dict[str, Exception] = {}
        while waiting:
            [ended], _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(ended)
            try:
                done[job.name], notices = ray.get(ended)
            except ray.exceptions.RayError as error:
                failed[job.name] = getattr(error, "cause", None) or error
                continue
            for notice in notices:
                progress.notice(notice)
            if finished is not None:
                finished(done[job.name])
    finally:
        if owns:
            ray.shutdown()
    if failed:
        name, cause = next(iter(failed.items()))
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise UserError(
            f"the training of '{name}' failed{more}: {first_line(cause)}",
            hint="the other trainings are finished; the same command trains the rest",
        ) from cause
    return [done[job.name] for job in jobs]


def _train(
    job: Job, output: Path, device: torch.device, half: bool, fresh: bool, threads: int
) -> tuple[Trained, list[Any]]:
    """Train a job in a worker, and return the training with its notices."""
    torch.set_num_threads(threads)
    progress = Recording(Silent())
    trained = train_job(job, output, device=device, half=half, fresh=fresh, progress=progress)
    return trained, progress.notices
