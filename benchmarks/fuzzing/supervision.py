"""Runs workers, ends those at a limit, and counts."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.fuzzing.contract import Violation
from benchmarks.fuzzing.progress import Progress, resident
from benchmarks.fuzzing.worker import MOST_MEMORY, available_engines, save

LONGEST_SECONDS = 10.0
"""Seconds that one input may take."""
_POLL = 0.05
_START_SECONDS = 300.0
"""Seconds for a worker's imports and seeds."""


class Tally(NamedTuple):
    """Inputs and seconds of one engine on one loader."""

    engine: str
    inputs: int
    seconds: float


def fuzz(name: str, seconds: float, seed: int, findings: Path) -> list[Tally]:
    """Run every available engine on a loader, an equal share of the time each.

    Parameters
    ----------
    name
        The loader.
    seconds
        In all; imports and seeds come on top.
    seed
        Of the random choices.
    findings
        The folder of this loader's findings.
    """
    engines = available_engines()
    return [_ran(name, engine, seconds / len(engines), seed, findings) for engine in engines]


def _ran(name: str, engine: str, seconds: float, seed: int, findings: Path) -> Tally:
    inputs, left = 0, seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while left > 1:
            scratch = Path(folder)
            (scratch / "progress").unlink(missing_ok=True)
            counted, lasted = _once(name, engine, scratch, findings, left, seed + inputs)
            inputs += counted
            left -= max(lasted, 1.0)
    return Tally(engine, inputs, seconds)


def _once(
    name: str, engine: str, scratch: Path, findings: Path, seconds: float, seed: int
) -> tuple[int, float]:
    """Run one worker to its end; return the inputs that it had, and the seconds since the first."""
    progress = Progress(scratch / "progress")
    command = [
        sys.executable, "-m", "benchmarks.fuzzing.worker", name, engine, str(scratch), str(findings),
        "--seconds", str(seconds), "--seed", str(seed),
    ]  # fmt: skip
    with (scratch / "log").open("wb") as log:
        (scratch / "temporary").mkdir(exist_ok=True)
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(scratch / "temporary")}
        )
    made, first = time.monotonic(), 0.0
    while process.poll() is None:
        time.sleep(_POLL)
        state, now = progress.state, time.monotonic()
        first = first or state.started
        reason = None
        if state.started and now - state.started > LONGEST_SECONDS:
            reason = Violation("hang", "time", f"above {LONGEST_SECONDS:g} s")
        elif (
            state.started
            and (more := resident(process.pid) - state.memory) > MOST_MEMORY
            and progress.state == state  # Not the memory of a mutation after it.
        ):
            reason = Violation("memory", "growing", f"{more / 2**20:,.0f} MiB")
        elif not first and now - made > _START_SECONDS:
            reason = Violation("hang", "seeds", "the worker did not start")
        if reason is not None:
            _end(process)
            _save_current(scratch, findings, reason)
        elif first and now - first > seconds + 2 * LONGEST_SECONDS:
            _end(process)  # An engine that does not notice the end.
    text = (scratch / "log").read_text(encoding="utf-8", errors="replace")
    if process.returncode not in (0, -9) or "Traceback (most recent call last)" in text:
        _save_current(scratch, findings, Violation("crash", f"exit {process.returncode}", text[-4000:]))
    if not first:
        raise SystemExit(f"the worker of {name} did not start:\n{text[-4000:]}")
    return progress.state.inputs, time.monotonic() - first


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _save_current(scratch: Path, findings: Path, violation: Violation) -> None:
    """Save the input that a worker ended at; inputs at one limit differ, so each has its own name."""
    content = (scratch / "current").read_bytes() if (scratch / "current").exists() else b""
    place = f"{violation.place} {len(content)} bytes"
    save(findings, violation._replace(place=place), content)
