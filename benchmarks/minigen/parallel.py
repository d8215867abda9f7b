"""The slow work of a build as functions that run in processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.minigen import cifar10, classifier
from benchmarks.minigen.allocation import Counts, allocate
from benchmarks.minigen.generators import GENERATORS
from benchmarks.minigen.sampling import sample_generator
from benchmarks.minigen.train_detectors import Experiment, train_detector
from benchmarks.minigen.training import fit

SEED = 0


def train_network(work: Path, name: str, minutes: float) -> None:
    """Train one generator or classifier up to its minutes."""
    torch.set_num_threads(1)
    data = cifar10.load(work)
    recipe = GENERATORS[name].recipe(work) if name in GENERATORS else classifier.recipe(name)
    fit(recipe, data.train_images, data.train_labels, work, minutes=minutes, seed=SEED)


def sample_images(work: Path, counts: Counts, name: str) -> None:
    """Generate one generator's images for all splits."""
    torch.set_num_threads(1)
    data = cifar10.load(work)
    sample_generator(work, data, allocate(data, counts, len(GENERATORS)), name)


def train_one_detector(
    work: Path, data_folder: Path, weights_folder: Path, plan: Experiment, names: list[str]
) -> None:
    """Train one detector."""
    torch.set_num_threads(1)
    train_detector(work, data_folder, weights_folder, plan, names)


def in_parallel(jobs: int, task: Callable[..., None], calls: Sequence[tuple[object, ...]]) -> None:
    """Run calls in processes of one thread each, the longest first as the caller ordered them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for future in [pool.submit(task, *call) for call in calls]:
            future.result()
