"""A worker of a distributed run: computes shards in a process of its own and puts them into the store.

The process that started the run then finds every shard in the store and finishes the run alone. So records do not
depend on the workers: a shard that a worker computed has the same key and the same content.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment, make_experiment
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.shards import Shard
from robustbench_aigen.engine.ssim_sample import SsimSample
from robustbench_aigen.engine.store import open_store
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.seeding import seeded_global_rng
from robustbench_aigen.numerics.threads import using_threads
from robustbench_aigen.registry import load_plugins
from robustbench_aigen.scenario.scenario import Scenario

FakeIndex = int | tuple["FakeIndex", ...]
"""The index of the fake output; of an ensemble, those of its members."""


class ShardJob(NamedTuple):
    """A shard under all pipelines of one detector.

    Parameters
    ----------
    number
        Number of the job.
    detector
        Number of the detector in the experiment.
    indices, hashes, kept, ssim, whole
        The shard, as in :class:`~robustbench_aigen.engine.shards.Shard`.
    keys
        The keys of its cells in the store.
    """

    number: int
    detector: int
    indices: tuple[int, ...]
    hashes: tuple[str, ...]
    kept: frozenset[str]
    ssim: SsimSample
    whole: bool
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Assignment:
    """The experiment of a run as values that travel to other processes and machines.

    Parameters
    ----------
    scenario
        The scenario.
    trust_code, plugins
        Whether files may run code when they are loaded, and the plugin files to load.
    thresholds
        Of the detectors, by their names.
    insights
        How gradients of the detectors are found, by their names; None where no attack reacts.
    fake_indices
        The index of the fake output of each detector and surrogate, as the run's output check has set it.
    store, fresh
        Folder or fsspec URL of finished shards, and whether those of earlier runs are ignored.
    threads
        Threads of each worker.
    torch_threads
        Threads of torch in each worker, at most those of torch in this process: their number moves last digits.
    """

    scenario: Scenario
    trust_code: bool
    plugins: tuple[str, ...]
    thresholds: Mapping[str, Threshold]
    insights: Mapping[str, Insight] | None
    fake_indices: tuple[Sequence[FakeIndex], Sequence[FakeIndex]]
    store: str
    fresh: bool
    threads: int
    torch_threads: int


class Worker:
    """A process that computes jobs; data and detectors are loaded once.

    Raises
    ------
    UserError
        If data or detectors cannot be loaded here.
    """

    def __init__(self, assignment: Assignment, device: str) -> None:
        load_plugins(assignment.plugins)
        torch.set_num_threads(assignment.torch_threads)
        self.threads, self.store = assignment.threads, open_store(assignment.store, fresh=assignment.fresh)
        with seeded_global_rng("a run"):
            made = make_experiment(assignment.scenario, device=device, trust_code=assignment.trust_code)
        detectors, surrogates = assignment.fake_indices
        self.experiment: Experiment = made.replaced(
            thresholds=assignment.thresholds,
            insights=assignment.insights,
            detectors=tuple(map(_read_as, made.detectors, detectors)),
            surrogates=dict(
                zip(made.surrogates, map(_read_as, made.surrogates.values(), surrogates), strict=True)
            ),
        )

    def compute(self, job: ShardJob) -> float:
        """Compute a job into the store, and return its seconds.

        Raises
        ------
        UserError
            If the shard has another key here, because code, data or detector are not those of the run.
        """
        clock = time.perf_counter()
        experiment = self.experiment
        shard = Shard(experiment.selection, job.indices, job.hashes, job.kept, job.ssim, job.whole)
        detector = experiment.detectors[job.detector]
        cells = [experiment.cell(detector, pipeline) for pipeline in experiment.pipelines]
        execution = Execution(experiment, self.store, Silent())
        if tuple(execution.key(cell, shard) for cell in cells) != job.keys:
            raise UserError(
                f"a worker has another version of the program, the images, or detector '{detector.name}'",
                hint="install the same version on every machine, and give paths that all machines see",
            )
        with using_threads(self.threads), seeded_global_rng("a run"):
            execution.compute(cells, shard)
        return time.perf_counter() - clock


def fake_index(detector: Detector) -> FakeIndex:
    """Return the index of a detector's fake output, of an ensemble those of its members."""
    if isinstance(detector, Ensemble):
        return tuple(fake_index(member) for member in detector.members)
    return detector.preprocessing.fake_index


def _read_as(detector: Detector, wanted: FakeIndex) -> Detector:
    """Return a detector whose outputs are read as in the run."""
    if fake_index(detector) == wanted:
        return detector
    if isinstance(detector, Ensemble):
        assert isinstance(wanted, tuple)
        return detector.of(
            [_read_as(member, own) for member, own in zip(detector.members, wanted, strict=True)]
        )
    assert isinstance(wanted, int)
    return detector.read_as(fake_index=wanted)
