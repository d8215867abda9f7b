"""Threads: the same bytes for any number of them, one pool, and the cores that a process may use."""

import multiprocessing
import os
import threading

import pandas as pd
import pytest
import torch
from conftest import write_image
from PIL import features
from test_perturbations import NAMES, RECIPES, applied, smooth
from test_structure import PACKAGE
from torch import nn

from robustbench_aigen import attacks, evaluate, perturbations
from robustbench_aigen.data.image_data import ImageData
from robustbench_aigen.data.selection import select
from robustbench_aigen.engine import perturbed_ahead
from robustbench_aigen.engine.shards import content_digest, make_shards
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics import threads
from robustbench_aigen.numerics.parallel_map import in_threads
from robustbench_aigen.numerics.threads import available_cores, thread_count, using_threads
from robustbench_aigen.perturbations import pixelwise


@pytest.mark.parametrize("name", RECIPES)
def test_every_perturbation_gives_the_same_bytes_with_any_number_of_threads(name, monkeypatch):
    if "avif" in name and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    monkeypatch.setattr(pixelwise, "_ALONE", 0)
    monkeypatch.setattr(pixelwise, "_PIXELS", 1)  # An image is a task.
    levels = smooth(len(NAMES))
    with using_threads(1):
        alone = applied(name, levels)
    for count in (2, 5):
        with using_threads(count):
            assert torch.equal(applied(name, levels), alone)


def test_large_images_are_perturbed_in_the_threads_of_the_pool(monkeypatch):
    used = set()

    def change(picture):
        used.add(threading.current_thread().name)
        return picture

    levels = smooth(8, 128, 128)
    with using_threads(2):
        assert torch.equal(pixelwise.on_pictures(levels, change), levels)
    assert used
    assert all(name.startswith("images") for name in used)
    used.clear()
    with using_threads(1):
        pixelwise.on_pictures(levels, change)
    assert used == {threading.current_thread().name}


def test_there_is_one_place_that_makes_a_pool_for_images():
    own = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        if "ThreadPoolExecutor(" in file.read_text(encoding="utf-8")
    }
    # Two have one thread each, which waits for the pool; a service behind HTTP is asked by threads that wait.
    waiting = {"engine/prefetch.py", "engine/perturbed_ahead.py", "detectors/remote/service.py"}
    assert own == {"numerics/threads.py", *waiting}


def test_work_inside_a_task_does_not_wait_for_its_own_pool():
    def inner(number: int) -> int:
        return sum(in_threads(lambda other: other * number, range(100), chunk=1))

    with using_threads(2):
        assert list(in_threads(inner, range(20), chunk=1)) == [4950 * number for number in range(20)]


def _squares(answers) -> None:
    answers.put(list(in_threads(lambda number: number**2, range(40), chunk=1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_a_pool_of_its_own():
    context = multiprocessing.get_context("fork")
    with using_threads(2):
        assert sum(in_threads(int, range(40), chunk=1)) == 780
        answers = context.SimpleQueue()
        child = context.Process(target=_squares, args=(answers,))
        child.start()
        child.join(20)
        assert child.exitcode == 0
    assert answers.get() == [number**2 for number in range(40)]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "6400000 100000"}, 8),
        ({"slice/job/cpu.max": "300000 100000", "slice/cpu.max": "max 100000"}, 3),
        ({"slice/job/cpu.max": "max 100000", "slice/cpu.max": "400000 100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_the_cores_are_those_of_the_affinity_within_the_quota(tmp_path, monkeypatch, files, cores):
    (tmp_path / "self").write_text("0::/slice/job\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    monkeypatch.setattr(threads, "_PROCESS", tmp_path / "self")
    monkeypatch.setattr(threads, "_CGROUP", tmp_path / "groups")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == cores


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "2"])
def test_a_number_of_threads_that_is_no_number_is_refused(count):
    with pytest.raises(UserError, match="threads must be a whole number above 0"), using_threads(count):
        pass


def test_the_number_holds_inside_its_block():
    with using_threads(3):
        with using_threads(None):
            assert thread_count() == 3
        with using_threads(1):
            assert thread_count() == 1
        assert thread_count() == 3
    assert thread_count() == available_cores()


def test_hashes_are_those_of_the_images_in_their_order(tmp_path):
    for number in range(40):
        write_image(tmp_path / ("fake", "real")[number % 2] / f"{number:02}.png", number, fake=False)
    selection = select(ImageData.open(tmp_path, split="all").selection.source, "all", None)
    with using_threads(3):
        (shard,) = make_shards(selection)
    assert shard.hashes == tuple(content_digest(selection.source.encoded(index)) for index in shard.indices)


class Mean(nn.Module):
    """Calls bright images fake."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight, -weight / 2, 1.0]))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return ((pixels.mean(dim=(2, 3)) - 0.5) * self.weight).sum(dim=1)


def evaluated(count: int) -> pd.DataFrame:
    pipelines = {
        "noise": perturbations.gaussian_noise(sigma=8 / 255),
        "jpeg": [perturbations.jpeg(quality=[50, 90]), perturbations.resize(scale=0.5)],
        "pgd": [perturbations.gaussian_blur(sigma=1), attacks.pgd(eps=4 / 255, steps=2)],
    }
    run = evaluate(
        [Mean(1.0), Mean(2.0)], "minigen", pipelines, limit=20, batch_size=6, device="cpu", threads=count
    )
    assert run.info.hardware.image_threads == count
    return run.records


def test_a_run_perturbs_beside_the_network_once_for_all_detectors_and_has_the_same_records(monkeypatch):
    apply, used = perturbed_ahead._applied, []

    def noted(cell, length, images):
        used.append(threading.current_thread().name.startswith("perturbing"))
        return apply(cell, length, images)

    monkeypatch.setattr(perturbed_ahead, "_applied", noted)
    with_threads = evaluated(2)
    # Four pipelines begin with a perturbation, and two detectors share the images.
    assert used == [True] * 4
    used.clear()
    monkeypatch.setattr(perturbed_ahead, "_leading", lambda _: 0)
    pd.testing.assert_frame_equal(evaluated(1), with_threads)
    assert not used
