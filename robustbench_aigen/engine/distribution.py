"""A run over several processes: which shards are missing, who computes them, and what happens when one fails."""

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, get_args

from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.shards import Shard
from robustbench_aigen.engine.worker import ShardJob
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.text import counted

Engine = Literal["local", "processes", "ray"]
ATTEMPTS = 3
"""Times that a job is tried before it is set aside."""


class Spread(NamedTuple):
    """Where shards are computed.

    Parameters
    ----------
    engine
        ``local``: in this process. ``processes``: in processes of this machine. ``ray``: in actors of Ray.
    workers
        Number of workers; None for one per core or GPU.
    address
        Address of a Ray cluster; None starts Ray on this machine.
    """

    engine: Engine = "local"
    workers: int | None = None
    address: str | None = None

    def check(self) -> None:
        """Raise UserError if settings contradict each other."""
        if self.engine not in get_args(Engine):
            raise UserError(
                f"unknown engine '{self.engine}'", hint=did_you_mean(self.engine, get_args(Engine))
            )
        if self.engine == "local" and self.workers is not None:
            raise UserError("--workers needs --engine processes or --engine ray")
        if self.engine != "ray" and self.address is not None:
            raise UserError("--address needs --engine ray")


HERE = Spread()
"""Everything in this process."""


class Finished(NamedTuple):
    """A job that has ended: its seconds, or the error. ``is_lost`` if the worker ended, and not the job alone."""

    job: ShardJob
    seconds: float = 0.0
    error: Exception | None = None
    is_lost: bool = False


class Workers(Protocol):
    """Processes that compute jobs."""

    @property
    def slots(self) -> int:
        """Largest number of jobs at a time, waiting ones included."""
        ...

    def submit(self, job: ShardJob) -> None:
        """Start a job."""
        ...

    def wait(self) -> Sequence[Finished]:
        """Wait until at least one job has ended, and return those that have."""
        ...

    def close(self) -> None:
        """End the workers; unfinished jobs are lost."""
        ...

    def described(self) -> str:
        """Return a few words on the workers for a notice."""
        ...


class SetAsideError(RuntimeError):
    """Shards that failed on every attempt; all others are in the store."""


def missing_jobs(execution: Execution, shards: Sequence[Shard]) -> list[ShardJob]:
    """Return a job for each shard and detector with a cell that is not in the store."""
    experiment = execution.experiment
    jobs: list[ShardJob] = []
    for shard in shards:
        for number, detector in enumerate(experiment.detectors):
            cells = [experiment.cell(detector, pipeline) for pipeline in experiment.pipelines]
            keys = tuple(execution.key(cell, shard) for cell in cells)
            if not all(map(execution.cache.has, keys)):
                jobs.append(
                    ShardJob(
                        len(jobs),
                        number,
                        shard.indices,
                        shard.hashes,
                        shard.kept,
                        shard.ssim,
                        shard.whole,
                        keys,
                    )
                )
    return jobs


def distribute(execution: Execution, jobs: Sequence[ShardJob], workers: Workers) -> None:
    """Have jobs computed into the store by workers.

    At most ``workers.slots`` jobs are under way, so that jobs do not pile up at the workers. A job that fails is tried
    again, at most :data:`ATTEMPTS` times; other jobs continue meanwhile.

    Raises
    ------
    UserError
        If the input is wrong; that is not tried again.
    SetAsideError
        If jobs failed on every attempt, after all others have ended.
    """
    progress, pipelines = execution.progress, len(execution.experiment.pipelines)
    waiting, running = deque(jobs), 0
    attempts = dict.fromkeys((job.number for job in jobs), 0)
    failed: list[Finished] = []
    progress.start(pipelines * sum(len(job.indices) for job in jobs))
    progress.work_on("", f"{counted(len(jobs), 'shard')} on {workers.described()}")
    while waiting or running:
        while waiting and running < workers.slots:
            workers.submit(waiting.popleft())
            running += 1
        for done in workers.wait():
            running -= 1
            if done.error is None:
                execution.cache.note(done.job.keys)
                progress.advance(pipelines * len(done.job.indices))
                continue
            if isinstance(done.error, UserError):
                raise done.error
            attempts[done.job.number] += 1
            if attempts[done.job.number] < ATTEMPTS:
                waiting.append(done.job)
            else:
                failed.append(done)
                progress.notice(f"a shard is set aside: {_told(done)}")
    if failed:
        raise SetAsideError(
            f"{counted(len(failed), 'shard')} of {len(jobs)} failed {ATTEMPTS} times and "
            f"{'is' if len(failed) == 1 else 'are'} set aside: {_told(failed[0])}; "
            "the other shards are stored, and the same command tries again"
        )


def _told(done: Finished) -> str:
    what = "the worker ended" if done.is_lost else type(done.error).__name__
    first = str(done.error).strip().splitlines()
    return f"{what}: {first[0] if first else 'no message'}"
