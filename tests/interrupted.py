"""Runs that get a signal at a known point: after so many finished shards, not after so much time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY

PROGRAM = """
import os, signal, sys
from robustbench_aigen.cli import app
from robustbench_aigen.engine.store import ShardCache

after, number = int(sys.argv.pop(1)), signal.Signals[sys.argv.pop(1)]
# A shell's background jobs ignore SIGINT, and so would what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
save, kept = ShardCache.save, []

def saving(self, key, records, problems):
    save(self, key, records, problems)
    kept.append(key)
    if len(kept) == after:
        os.kill(os.getpid(), number)

ShardCache.save = saving
sys.argv[0] = "robust-aigen"
app.main()
"""


def run_with_signal(
    sent: signal.Signals, after: int, scenario: Path, output: Path
) -> subprocess.CompletedProcess[str]:
    """``robust-aigen run``, which sends itself a signal once so many shards are in the cache."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(after), sent.name, "run", str(scenario), "--output", str(output)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
