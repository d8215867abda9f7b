"""Memory that runs out: the shard, or the probe, begins again with half the batch; the records are those of that size."""

import pandas as pd
import pytest
import torch
from test_engine import scenario

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine import experiment
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run

PIPELINES = "{pgd: [{attack: pgd, eps: [1/255, 2/255], steps: 3}], noise: [{perturb: gaussian_noise}]}"
KEYS = {"data": "{source: minigen, split: test, limit: 60}", "precision": "fp32"}


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def cells_of(result):
    return [timing for timing in result.info.timings if timing.step == "cell"]


def out_of_memory(kind: str) -> Exception:
    if kind == "cuda":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory")


def with_memory_for(monkeypatch, limit: int, kind: str, *, gradients: bool = False) -> None:
    """Let a detector fail on more images than so many, on any pass or only on those with gradients."""
    forward = Detector.forward

    def limited(self, pixels, sizes=None):
        if len(pixels) > limit and (pixels.requires_grad or not gradients):
            raise out_of_memory(kind)
        return forward(self, pixels, sizes)

    monkeypatch.setattr(Detector, "forward", limited)


@pytest.mark.parametrize(("kind", "backend"), [("cuda", "native"), ("cpu", "torchattacks"), ("cuda", "art")])
def test_half_the_batch_until_it_fits_and_the_records_of_that_batch_size(
    tmp_path, monkeypatch, kind, backend
):
    pipelines = PIPELINES.replace("steps: 3", f"steps: 3, backend: {backend}")
    expected = run(scenario(tmp_path, pipelines, batch_size=25, **KEYS), output=tmp_path / "given").records
    with_memory_for(monkeypatch, 30, kind)
    listening = Listening()
    file = scenario(tmp_path, pipelines, batch_size=100, **KEYS)
    result = run(file, output=tmp_path / "out", progress=listening)
    pd.testing.assert_frame_equal(result.records, expected)
    assert [note for note in listening.notices if "out of memory" in note] == [
        "minigen/lenet5: out of memory with batches of 100; continuing with 50",
        "minigen/lenet5: out of memory with batches of 50; continuing with 25",
    ]
    assert {timing.batch_size for timing in cells_of(result)} == {25}


def test_gradients_that_do_not_fit_leave_finished_cells_as_they_are(tmp_path, monkeypatch):
    expected = run(scenario(tmp_path, PIPELINES, batch_size=32, **KEYS), output=tmp_path / "given").records
    with_memory_for(monkeypatch, 40, "cuda", gradients=True)
    result = run(scenario(tmp_path, PIPELINES, batch_size=64, **KEYS), output=tmp_path / "out")
    pd.testing.assert_frame_equal(result.records, expected, rtol=1e-5)
    sizes = {timing.pipeline: timing.batch_size for timing in cells_of(result)}
    assert sizes == {"clean": 64, "pgd[eps=1/255]": 32, "pgd[eps=2/255]": 32, "noise": 32}
    assert all(timing.shards_computed == 1 for timing in cells_of(result))


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_a_batch_that_fits_runs_where_the_images_that_are_tried_before_do_not(tmp_path, monkeypatch, kind):
    file = scenario(tmp_path, PIPELINES, batch_size=4, **KEYS)
    expected = run(file, output=tmp_path / "given").records
    with_memory_for(monkeypatch, 8, kind)
    listening = Listening()
    result = run(file, output=tmp_path / "out", progress=listening)
    pd.testing.assert_frame_equal(result.records, expected)
    assert not [note for note in listening.notices if "out of memory" in note]


def test_a_smaller_batch_is_found_again_in_the_cache(tmp_path, monkeypatch):
    """With memory enough the same command computes what a small batch had: batch sizes are part of a cell."""
    with_memory_for(monkeypatch, 30, "cuda")
    file = scenario(tmp_path, PIPELINES, batch_size=100, **KEYS)
    first = run(file, output=tmp_path / "out")
    monkeypatch.undo()
    same = run(scenario(tmp_path, PIPELINES, batch_size=25, **KEYS), output=tmp_path / "out")
    assert all(timing.shards_computed == 0 for timing in same.info.timings)
    pd.testing.assert_frame_equal(first.records, same.records)


def test_images_that_were_counted_are_not_counted_again(tmp_path, monkeypatch):
    class Counting(Listening):
        def __init__(self) -> None:
            super().__init__()
            self.expected = self.done = 0

        def start(self, images: int) -> None:
            self.expected += images

        def advance(self, images: int) -> None:
            self.done += images

    with_memory_for(monkeypatch, 30, "cuda", gradients=True)
    counting = Counting()
    run(scenario(tmp_path, PIPELINES, batch_size=64, **KEYS), output=tmp_path / "out", progress=counting)
    assert counting.done == counting.expected == 4 * 60


def once_loaded(monkeypatch, failure) -> list[int]:
    """Let a detector raise from when it is loaded, which tries it, and return the batch sizes that it is given."""
    sizes, load, real = [], experiment.load_detector, Detector.forward

    def failing(self, pixels, sizes_of_images=None):
        sizes.append(len(pixels))
        raise failure()

    def loaded(*arguments, **options):
        monkeypatch.setattr(Detector, "forward", real)
        detector = load(*arguments, **options)
        monkeypatch.setattr(Detector, "forward", failing)
        return detector

    monkeypatch.setattr(experiment, "load_detector", loaded)
    return sizes


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_one_image_that_does_not_fit_is_one_line(tmp_path, monkeypatch, cli, kind):
    file = scenario(tmp_path, PIPELINES, batch_size=4, **KEYS)
    calls = once_loaded(monkeypatch, lambda: out_of_memory(kind))
    outcome = cli("run", file, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert [line for line in outcome.err.splitlines() if "not enough memory" in line] == [
        "error: not enough memory for one image through minigen/lenet5 at a time"
    ]
    assert calls[-3:] == [4, 2, 1]
    assert not (tmp_path / "out" / "example").exists()


def test_other_errors_of_a_detector_are_not_taken_for_a_lack_of_memory(tmp_path, monkeypatch):
    calls = once_loaded(monkeypatch, lambda: RuntimeError("size mismatch"))
    with pytest.raises(UserError, match="fails on 32×32 input .*: size mismatch"):
        run(scenario(tmp_path, PIPELINES, batch_size=64, **KEYS), output=tmp_path / "out")
    assert calls.count(max(calls)) == 1  # No second try with fewer images.


def test_memory_that_a_perturbation_lacks_halves_the_batch_too(tmp_path, monkeypatch):
    sizes = []

    def blurred(levels, sigma):
        sizes.append(len(levels))
        if len(levels) > 30:
            raise MemoryError
        return levels

    monkeypatch.setattr("robustbench_aigen.perturbations.blur.gaussian_blur", blurred)
    file = scenario(tmp_path, "{blurred: [{perturb: gaussian_blur}]}", batch_size=60, **KEYS)
    result = run(file, output=tmp_path / "out")
    assert sizes[:3] == [60, 30, 30]
    assert {timing.batch_size for timing in result.info.timings if timing.pipeline == "blurred"} == {30}
