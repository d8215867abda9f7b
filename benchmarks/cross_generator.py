"""Trains LeNet-5 on each family of minigen alone, on all but each and on all, and writes ``results/cross_generator``.

    python -m benchmarks.cross_generator [--runs results]

``robust-aigen cross-generator`` does the work, on the shipped splits alone; finished trainings are kept, and the same
command goes on from a stop. minigen's 2,880 to 4,800 training images are few steps of the recipe's batches of 256, so
batches are smaller and epochs more.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.committed_page import write_readme
from robustbench_aigen.training.generator_matrix import MATRIX

WORDS = (
    "cross-generator", "lenet5", "--data", "minigen", "--all-but-one", "--epochs", "60",
    "--set", "batch_size=64", "--set", "learning_rate=2e-3", "--set", "weight_decay=1e-4",
)  # fmt: skip
"""What is run; the page quotes it."""


def main() -> None:
    """Parse the command line, train and compare, publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=Path, default=Path("results/cross_generator"))
    parser.add_argument("--runs", type=Path, default=Path("results"), help="where detectors and the run are")
    arguments = parser.parse_args()
    done = subprocess.run(
        [sys.executable, "-m", "robustbench_aigen", *WORDS, "--output", str(arguments.runs)], check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    publish(arguments.runs / "cross_generator" / "latest", arguments.target)


def publish(run: Path, target: Path) -> None:
    """Copy the protocol's tables and figure from a run folder to ``target`` and write its README."""
    target.mkdir(parents=True, exist_ok=True)
    for file in (*sorted((run / "tables").glob(f"{MATRIX}*.csv")), run / "figures" / f"{MATRIX}.png"):
        shutil.copy2(file, target / file.name)
    protocol = (run / "tables" / f"{MATRIX}.md").read_text(encoding="utf-8")
    parts = [
        f"Written by `python -m benchmarks.cross_generator`, which runs:\n\n```sh\nrobust-aigen {' '.join(WORDS)}\n```\n",
        f"![the matrices]({MATRIX}.png)",
    ]
    title, body = protocol.split("\n", 1)
    write_readme(target, [title + "\n", *parts, body], missing=[])


if __name__ == "__main__":
    main()
