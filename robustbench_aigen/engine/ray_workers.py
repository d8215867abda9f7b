"""Workers as actors of Ray, on this machine or on a cluster."""

import socket
import time
from collections.abc import Sequence
from typing import Any

from robustbench_aigen.engine.distribution import Finished
from robustbench_aigen.engine.worker import Assignment, ShardJob, Worker
from robustbench_aigen.errors import UserError, first_line
from robustbench_aigen.imports import import_library
from robustbench_aigen.text import counted

_PATIENCE = 120.0
"""Seconds without any worker before a run ends."""


def connected(address: str | None, cores: int | None, what: str) -> tuple[Any, bool]:
    """Return Ray, connected to a cluster, and whether the connection was made here.

    Parameters
    ----------
    address
        Address of a cluster: ``auto`` for the one that this machine belongs to, ``ray://HOST:PORT``; None starts Ray on
        this machine alone.
    cores
        Cores of a Ray that is started on this machine; None for all.
    what
        What needs Ray, for the message.

    Raises
    ------
    UserError
        If Ray is not installed, or there is no cluster at the address.
    """
    ray: Any = import_library("ray", extra="ray", what=what)
    if ray.is_initialized():
        return ray, False
    options: dict[str, Any] = {"log_to_driver": False}
    if address is None:
        # The dashboard and its agents take a part of a core; a cluster has its own.
        options["include_dashboard"] = False
        if cores is not None:
            options["num_cpus"] = cores
    try:
        ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no Ray cluster at '{address}': {first_line(error)}",
            hint="start a cluster with 'ray start --head', or leave --address out for this machine alone",
        ) from error
    return ray, True


class RayWorkers:
    """Actors of Ray, each with a copy of the detectors.

    Parameters
    ----------
    assignment
        The experiment.
    address
        Address of a cluster: ``auto`` for the one that this machine belongs to, ``ray://HOST:PORT``; None starts Ray
        on this machine alone.
    count
        Number of actors; None for as many as the cluster has room for.
    device
        ``cuda`` gives one GPU to each actor.

    Raises
    ------
    UserError
        If Ray is not installed, there is no cluster at the address, or the cluster has no room for one actor.
    """

    def __init__(self, assignment: Assignment, address: str | None, count: int | None, device: str) -> None:
        cores = None if count is None else count * assignment.threads
        ray, self._owns = connected(address, cores, "--engine ray")
        self._ray = ray
        gpus = 1 if device.startswith("cuda") else 0
        room = _room(ray.cluster_resources(), assignment.threads, gpus)
        if room < 1:
            raise UserError(
                f"the cluster has no room for a worker with {counted(assignment.threads, 'core')} and {counted(gpus, 'GPU')}",
                hint="fewer --threads, or another --device",
            )
        self._count = room if count is None else min(count, room)
        self._needs = assignment.threads, gpus
        # Not restarted by Ray: an actor whose machine is gone would wait for another machine, and its jobs with it.
        self._made = ray.remote(num_cpus=assignment.threads, num_gpus=gpus, max_restarts=0)(_Actor)
        # One object in the store of the cluster, not a copy for every actor.
        self._assignment = ray.put(assignment)
        self._device = "cuda" if gpus else device
        self._actors = [self._start() for _ in range(self._count)]
        self._running: dict[Any, tuple[ShardJob, Any]] = {}

    @property
    def slots(self) -> int:
        """Two jobs for each actor, so that none waits for the next.

        Lost actors are replaced while the cluster has room.

        Raises
        ------
        RuntimeError
            If no actor is left, and the cluster has no room for another one.
        """
        deadline = time.monotonic() + _PATIENCE
        while len(self._actors) < self._count:
            if _room(self._ray.available_resources(), *self._needs):
                self._actors.append(self._start())
            elif self._actors:
                break
            elif time.monotonic() > deadline:
                raise RuntimeError(f"no worker is left, and the cluster had no room for {_PATIENCE:.0f} s")
            else:
                time.sleep(1)
        return 2 * len(self._actors)

    def submit(self, job: ShardJob) -> None:
        """Give a job to the actor with the fewest jobs."""
        busy = [actor for _, actor in self._running.values()]
        actor = min(self._actors, key=busy.count)
        self._running[actor.compute.remote(job)] = job, actor

    def wait(self) -> Sequence[Finished]:
        """Wait until at least one job has ended."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1)
        return [self._ended(reference) for reference in ready]

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._owns:
            self._ray.shutdown()

    def described(self) -> str:
        """Return the number of actors and machines."""
        machines = len([node for node in self._ray.nodes() if node["Alive"]])
        return f"{counted(self._count, 'Ray worker')} on {counted(machines, 'machine')}"

    def _ended(self, reference: Any) -> Finished:
        job, actor = self._running.pop(reference)
        errors = self._ray.exceptions
        try:
            return Finished(job, self._ray.get(reference))
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            return Finished(job, error=cause)
        except errors.RayError as error:
            # The actor or its machine ended.
            self._actors = [each for each in self._actors if each is not actor]
            return Finished(job, error=error, is_lost=True)

    def _start(self) -> Any:
        return self._made.remote(self._assignment, self._device)


class _Actor:
    """A worker in a process of Ray."""

    def __init__(self, assignment: Assignment, device: str) -> None:
        self._given = assignment, device
        self._worker: Worker | None = None

    def compute(self, job: ShardJob) -> float:
        """Compute a job; an error in loading then reaches the caller with its message."""
        try:
            if self._worker is None:
                self._worker = Worker(*self._given)
            return self._worker.compute(job)
        except UserError as error:
            # What is wrong may be wrong on one machine alone.
            raise UserError(f"on {socket.gethostname()}: {error.sentence}", hint=error.hint) from error


def _room(resources: dict[str, float], cores: int, gpus: int) -> int:
    """Return how many actors a cluster has room for."""
    rooms = [resources.get("CPU", 0.0) // cores]
    if gpus:
        rooms.append(resources.get("GPU", 0.0) // gpus)
    return int(min(rooms))
