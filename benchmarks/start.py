"""How long commands take that compute nothing, beside ``python -c "import torch"``.

    python -m benchmarks.start [--rounds 5] [--output FILE]

In every round each command is started once, and ``import torch`` before each of them; a ratio is of two processes that
ran one after the other. The ratio is of processor time, the user's and the system's: other programs hardly
change it. The table has the ratio of the time on the clock, too.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd

from benchmarks.table_file import put_rows
from robustbench_aigen.engine.provenance import processor

TORCH = [sys.executable, "-c", "import torch"]
KINDS = ("attacks", "perturbations", "detectors", "scenarios", "finetunings", "data")
WRONG = "version: 1\nname: wrong\ndata: {source: minigen}\ndetectors: [minigen/lenet5]\npipelines: {p: [{attack: pdg}]}\n"


class Seconds(NamedTuple):
    """What a process took: of the processor, and on the clock."""

    processor: float
    clock: float


def main() -> None:
    """Parse the command line, measure, and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=64, help="images of the run that the cache answers")
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same commands are replaced")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        commands = _commands(folder, arguments.limit)
        pairs: dict[str, list[tuple[Seconds, Seconds]]] = {command: [] for command in commands}
        for _ in range(arguments.rounds):
            for command, words in commands.items():
                pairs[command].append((_timed(TORCH, folder), _timed(_robust_aigen(words), folder)))
    rows = [_row(command, measured) for command, measured in pairs.items()]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.output:
        about = {
            "images": arguments.limit,
            "rounds": arguments.rounds,
            "processor": processor(),
            "python": platform.python_version(),
        }
        put_rows(arguments.output, table.assign(**about), ["command", "processor"])


def _commands(folder: Path, limit: int) -> dict[str, list[str]]:
    """Fill the cache, write a baseline and a scenario with a mistake, and return the commands, by what they are called."""
    run = ["run", "pgd_eps4", "--limit", str(limit)]
    (folder / "wrong.yaml").write_text(WRONG)
    for words in (run, ["gate", "results/pgd_eps4", "--baseline", "baseline", "--update"]):
        # Twice: the second time Python has compiled all that the command imports.
        for _ in range(2):
            subprocess.run(_robust_aigen(words), cwd=folder, capture_output=True, check=True)
    commands = {
        "run, from the cache": run,
        "run --dry-run": [*run, "--dry-run"],
        "run, refused": ["run", "wrong.yaml"],
        "validate": ["validate", "pgd_eps4"],
        "gate": ["gate", "results/pgd_eps4", "--baseline", "baseline"],
        "report": ["report", "results/pgd_eps4", "--output", "report"],
    }
    commands |= {f"list {kind}": ["list", kind] for kind in KINDS}
    return commands | {"list data minigen": ["list", "data", "minigen"], "list runs": ["list", "runs"]}


def _robust_aigen(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "robustbench_aigen", *words]


def _timed(command: Sequence[str], folder: Path) -> Seconds:
    """Run a command in a folder and return what it took; whether it refuses its input does not matter."""
    before, clock = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    after = getrusage(RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Seconds(used, time.perf_counter() - clock)


def _row(command: str, pairs: Sequence[tuple[Seconds, Seconds]]) -> dict[str, str]:
    ratios = [own.processor / torch.processor for torch, own in pairs]
    on_the_clock = statistics.median(own.clock / torch.clock for torch, own in pairs)
    return {
        "command": command,
        "import torch, seconds": f"{statistics.median(torch.processor for torch, _ in pairs):.2f}",
        "command, seconds": f"{statistics.median(own.processor for _, own in pairs):.2f}",
        "of import torch": f"{statistics.median(ratios):.2f}",
        "from": f"{min(ratios):.2f}",
        "to": f"{max(ratios):.2f}",
        "on the clock": f"{on_the_clock:.2f}",
    }


if __name__ == "__main__":
    main()
