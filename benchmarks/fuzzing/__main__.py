"""The command: ``python -m benchmarks.fuzzing [LOADER …] --minutes 10 --seed 0``."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fuzzing.loaders import LOADERS
from benchmarks.fuzzing.supervision import fuzz
from benchmarks.fuzzing.worker import available_engines

FINDINGS = Path("fuzz-findings")


def main() -> int:
    """Fuzz loaders; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzzing", description="Fuzz the loaders.")
    parser.add_argument("loader", nargs="*", help=f"all by default: {', '.join(LOADERS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each loader")
    parser.add_argument("--seed", type=int, help="by default the time, which is printed")
    parser.add_argument("--input", type=Path, help="load one saved input instead, and print its outcome")
    given = parser.parse_args()
    unknown = sorted(set(given.loader) - set(LOADERS))
    if unknown:
        parser.error(f"no loader '{unknown[0]}'; known: {', '.join(LOADERS)}")
    if given.input is not None:
        if len(given.loader) != 1:
            parser.error("--input needs one loader")
        return _replayed(given.loader[0], given.input)
    seed = int(time.time()) if given.seed is None else given.seed
    if "coverage" not in available_engines():
        print("atheris is not installed: bytes of valid files are mutated without coverage")
    if "structured" not in available_engines():
        print("hypothesis is not installed: no structured inputs")
    found = 0
    for name in given.loader or LOADERS:
        folder = FINDINGS / name
        before = _signatures(folder)
        for tally in fuzz(name, given.minutes * 60, seed, folder):
            print(
                f"{name}: {tally.engine}: {tally.inputs} inputs in {tally.seconds:.0f} s, seed {seed}",
                flush=True,
            )
        new = sorted(_signatures(folder) - before)
        found += len(new)
        for signature in new:
            report = (folder / signature / "report.txt").read_text(encoding="utf-8").splitlines()[0]
            print(f"{name}: found {report} ({folder / signature})", flush=True)
    print(f"{found} new in {FINDINGS}" if found else "nothing new")
    return 1 if found else 0


def _signatures(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


def _replayed(name: str, file: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [
            sys.executable, "-m", "benchmarks.fuzzing.worker", name, "bytes", folder, str(Path(folder) / "found"),
            "--seconds", "1", "--seed", "0", "--input", str(file),
        ]  # fmt: skip
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
