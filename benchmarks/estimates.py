"""Times that ``--dry-run`` expects against the times that the runs take, and the times of ``--time``.

    python -m benchmarks.estimates [SCENARIO …] [--time 2m] [--output FILE.csv]

Each scenario runs with its own images, in a process of its own. The pilot comes first. ``ratio`` is the time used, with
tables, over the time expected.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.table_file import put_rows
from robustbench_aigen import Run, Scenario
from robustbench_aigen.evaluation import pilot_of
from robustbench_aigen.scenario.amounts import read_time

SCENARIOS = ("pgd_sweep", "jpeg_sweep", "transfer", "black_box", "through_jpeg")


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS)
    parser.add_argument("--time", help="a time that each run may take, such as 2m")
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same scenarios are replaced")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.scenarios:
        rows.append(_within(name, arguments.time) if arguments.time else _planned(name))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.output:
        put_rows(arguments.output, table, ["scenario"])


def _planned(name: str) -> dict[str, object]:
    experiment = Scenario.from_yaml(name).experiment()
    clock = time.perf_counter()
    found = pilot_of(experiment)
    pilot_seconds = time.perf_counter() - clock
    span = found.seconds(found.whole, experiment.scenario.trust)
    run, _ = _run(name)
    used = run.info.seconds
    return {
        "scenario": name, "images": found.whole, "pilot images": found.images, "pilot s": round(pilot_seconds, 1),
        "least": round(span.least, 1), "expected": round(span.likely, 1), "most": round(span.most, 1),
        "used": round(used, 1), "ratio": round(used / span.likely, 2),
    }  # fmt: skip


def _within(name: str, text: str) -> dict[str, object]:
    run, wall = _run(name, "--time", text)
    return {
        "scenario": name, "images": run.info.data.images, "time": read_time(text), "wall": round(wall, 1),
        "share": round(wall / read_time(text), 2),
    }  # fmt: skip


def _run(name: str, *options: str) -> tuple[Run, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "robustbench_aigen", "run", name, "--output", folder, *options]
        clock = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.perf_counter() - clock
        return Run.load(next(Path(folder).glob("*/latest"))), wall


if __name__ == "__main__":
    main()
