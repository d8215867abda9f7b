"""The process that feeds a loader: one engine, until its time is over."""

import argparse
import importlib.util
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from benchmarks.fuzzing.contract import FORBIDDEN, MARKER, Outcome, Violation, Watch
from benchmarks.fuzzing.loaders import loader
from benchmarks.fuzzing.mutation import mutated
from benchmarks.fuzzing.progress import Progress, State, resident

MOST_MEMORY = 2**30
"""Bytes of memory that one input may take."""
LONGEST = 256 * 1024
"""Bytes of an input."""
_ADDRESSES = 8 * 2**30
"""Address space above that of a worker without inputs, which protects the machine."""


class Worker:
    """Gives inputs to a loader, one at a time, and saves those that violate the contract.

    Parameters
    ----------
    name
        The loader.
    scratch
        A folder of the worker, which its supervisor reads.
    findings
        The folder of the findings.
    """

    def __init__(self, name: str, scratch: Path, findings: Path) -> None:
        self.loader, self.scratch, self.findings = loader(name), scratch, findings
        self.seeds = self.loader.seeds(scratch / "seeds")
        self._progress = Progress(scratch / "progress")
        self._folder = scratch / "input"
        (scratch / FORBIDDEN).write_bytes(b"")
        for seed in self.seeds[:3]:
            with suppress(Exception):  # Imports and first calls do what later ones do not.
                self.loader.load(seed, _emptied(self._folder))
        # Some seeds run the code in them when they are made.
        (scratch / MARKER).unlink(missing_ok=True)
        self._watch = Watch(self.loader, scratch)
        self.known: set[str] = set()

    def examine(self, content: bytes) -> Outcome:
        """Examine one input, and save a new violation with its smallest input."""
        outcome = self._examined(content)
        if outcome.violation is not None:
            signature = signature_of(outcome.violation)
            if signature not in self.known:
                self.known.add(signature)
                save(self.findings, outcome.violation, self._smallest(content, signature))
        return outcome

    def _examined(self, content: bytes) -> Outcome:
        (self.scratch / "current").write_bytes(content)
        before, peak = resident(), _peak()
        count = self._progress.state.inputs
        self._progress.state = State(count, time.monotonic(), before)
        outcome = self._watch.examine(content, _emptied(self._folder))
        self._progress.state = State(count + 1, 0.0, before)
        after = _peak()
        if outcome.violation is None and after > peak and after - before > MOST_MEMORY:
            text = f"{(after - before) / 2**20:,.0f} MiB for {len(content)} bytes"
            outcome = Outcome(outcome.place, Violation("memory", outcome.place, text))
        return outcome

    def _smallest(self, content: bytes, signature: str, seconds: float = 5.0) -> bytes:
        """Return a smaller input with the same violation: parts are left out while it stays."""
        end, size = time.monotonic() + seconds, len(content) // 2
        while size and time.monotonic() < end:
            place = 0
            while place < len(content) and time.monotonic() < end:
                fewer = content[:place] + content[place + size :]
                found = self._examined(fewer).violation
                if found is not None and signature_of(found) == signature:
                    content = fewer
                else:
                    place += size
            size //= 2
        return content


def signature_of(violation: Violation) -> str:
    """Return a name for violations of one kind at one place."""
    return f"{violation.kind}-{sha256(f'{violation.kind} {violation.place}'.encode()).hexdigest()[:12]}"


def save(findings: Path, violation: Violation, content: bytes) -> None:
    """Save a violation and its input, unless one of its kind and place is there."""
    folder = findings / signature_of(violation)
    if folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / "input").write_bytes(content)
    text = f"{violation.kind} at {violation.place}\n\n{violation.details}\n"
    (folder / "report.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bytes(worker: Worker, seconds: float, seed: int) -> None:
    """Mutate files, and keep those that end at a new place."""
    draw, end = random.Random(seed), time.monotonic() + seconds
    pool, places = [], set()
    for content in worker.seeds:
        places.add(worker.examine(content).place)
        pool.append(content)
    while time.monotonic() < end:
        content = mutated(draw.choice(pool), pool, draw, LONGEST)
        place = worker.examine(content).place
        if place not in places:
            places.add(place)
            pool.append(content)


def _structured(worker: Worker, seconds: float, seed: int) -> None:
    """Draw inputs from the strategy of the loader."""
    import hypothesis

    end, strategy = time.monotonic() + seconds, worker.loader.structured(worker.seeds)

    def examined(content: bytes) -> None:
        if time.monotonic() < end:
            worker.examine(content)

    while time.monotonic() < end:
        settings = hypothesis.settings(
            max_examples=200, database=None, deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate],
        )  # fmt: skip
        hypothesis.seed(seed)(settings(hypothesis.given(strategy)(examined)))()
        seed += 1


def _coverage(worker: Worker, seconds: float, seed: int) -> None:
    """Let atheris choose the inputs whose branches are new."""
    import atheris

    corpus = worker.scratch / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(worker.seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    draw = random.Random(seed)

    def changed(content: bytes, most: int, _: int) -> bytes:
        if draw.random() < 0.5:
            return atheris.Mutate(content, most)
        return mutated(content, worker.seeds, draw, most)

    def examined(content: bytes) -> None:
        worker.examine(content)

    options = [
        f"-max_total_time={max(1, round(seconds))}", f"-seed={seed % 2**31 or 1}", f"-max_len={LONGEST}", "-timeout=100000",
        "-rss_limit_mb=0", "-malloc_limit_mb=0", "-verbosity=0", "-detect_leaks=0", f"-artifact_prefix={worker.scratch}/",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], str(corpus), *options], examined, custom_mutator=changed)
    atheris.Fuzz()


ENGINES: dict[str, Callable[[Worker, float, int], None]] = {
    "structured": _structured,
    "coverage": _coverage,
    "bytes": _bytes,
}


def available_engines() -> list[str]:
    """Return the engines whose packages are installed; ``bytes`` replaces ``coverage``."""
    found = [
        name for name, package in (("structured", "hypothesis"), ("coverage", "atheris")) if _has(package)
    ]
    return found if "coverage" in found else [*found, "bytes"]


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def main() -> None:
    """Run one engine on one loader."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loader")
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("findings", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--input", type=Path)
    given = parser.parse_args()
    if given.engine == "coverage" and given.input is None:
        import atheris

        # Only the package and the readers in Python that it calls: the rest would slow every input.
        with atheris.instrument_imports(include=["robustbench_aigen", "PIL", "yaml"]):
            worker = Worker(given.loader, given.scratch, given.findings)
    else:
        worker = Worker(given.loader, given.scratch, given.findings)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, used + _ADDRESSES))
    if given.input is not None:
        outcome = worker.examine(given.input.read_bytes())
        print(outcome.violation.details if outcome.violation else f"no violation: {outcome.place}")
        return
    ENGINES[given.engine](worker, given.seconds, given.seed)


if __name__ == "__main__":
    main()
