"""A run on workers against one process, and the cost of scheduling.

    python -m benchmarks.distribution [--images 2048] [--steps 60] [--engine ray] [--stubs 100000]

The first part runs PGD on one shipped detector in one process with one thread, then on two workers with one thread
each, and compares the records. The second part gives stub jobs to workers that compute nothing: seconds and memory of
the command alone.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import pandas as pd

from robustbench_aigen import Run
from robustbench_aigen.engine.distribution import Finished, distribute
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.ssim_sample import SMALL_IMAGES
from robustbench_aigen.engine.store import MemoryCache
from robustbench_aigen.engine.worker import ShardJob

_SCENARIO = """
version: 1
name: spread
data: {{source: minigen, split: all, limit: {images}}}
detectors: [minigen/cifake_cnn]
mode: score
trust: off
ssim: off
pipelines: {{pgd: [{{attack: pgd, eps: 4/255, steps: {steps}}}]}}
"""


def main() -> None:
    """Parse the command line, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--engine", choices=["processes", "ray"], nargs="+", default=["processes", "ray"])
    parser.add_argument("--stubs", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _runs(Path(folder), arguments.images, arguments.steps, arguments.engine)
    _stubs(arguments.stubs)


def _runs(folder: Path, images: int, steps: int, engines: list[str]) -> None:
    file = folder / "spread.yaml"
    file.write_text(_SCENARIO.format(images=images, steps=steps), encoding="utf-8")
    alone = _seconds(file, folder / "alone")
    shards = -(-images // 256)
    print(f"{images} images, PGD-{steps}: {alone:.0f} s in one process, {alone / shards:.1f} s a shard")
    expected = Run.load(folder / "alone" / "spread" / "latest").records
    for engine in engines:
        taken = _seconds(file, folder / engine, "--engine", engine, "--workers", "2")
        found = Run.load(folder / engine / "spread" / "latest").records
        pd.testing.assert_frame_equal(found, expected)
        print(f"{engine}, 2 workers: {taken:.0f} s, {taken / alone:.2f} of one process; equal records")


def _seconds(file: Path, output: Path, *options: str) -> float:
    command = [
        sys.executable,
        "-m",
        "robustbench_aigen",
        "run",
        str(file),
        "--output",
        str(output),
        "--threads",
        "1",
    ]
    clock = time.perf_counter()
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - clock


class _Stubs:
    """Workers that have finished every job at once."""

    slots = 64

    def __init__(self) -> None:
        self.running: deque[ShardJob] = deque()

    def submit(self, job: ShardJob) -> None:
        """Keep a job."""
        self.running.append(job)

    def wait(self) -> list[Finished]:
        """Return the first job as finished."""
        return [Finished(self.running.popleft())]

    def close(self) -> None:
        """Nothing to end."""

    def described(self) -> str:
        """Return the name of the stubs."""
        return "stubs"


def _stubs(count: int) -> None:
    class Stub:
        """What the scheduling reads of a run."""

        progress, cache = Silent(), MemoryCache()

        class experiment:  # noqa: N801
            """An experiment with one pipeline."""

            pipelines = (0,)

    jobs = [
        ShardJob(n, 0, (n,), ("",), frozenset(), SMALL_IMAGES, False, (f"{n:064}",)) for n in range(count)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = time.perf_counter()
    distribute(Stub(), jobs, _Stubs())  # type: ignore[arg-type]
    seconds = time.perf_counter() - clock
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{count} stub jobs: {seconds:.1f} s, {1e6 * seconds / count:.0f} µs a job, {grown:.0f} MB more than the list of jobs"
    )


if __name__ == "__main__":
    main()
