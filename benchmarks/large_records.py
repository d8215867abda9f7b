"""Memory and time of summary, gate and report on millions of records, made up without images and detectors.

    python -m benchmarks.large_records [--images 1000000] [--cells 10] [--folder DIR] [--output FILE.csv]

Each step runs in a process of its own, whose peak memory the operating system counts. ``--images`` × ``--cells`` is the
number of records; the first cell is clean, the others alternate between an attack and JPEG.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.table_file import put_rows

_PART = 2**16
STEPS = ("write", "summary", "baseline", "gate", "report")


def main() -> None:
    """Run every step and print the table; or one step, in its own process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keep the run here, and use what is there")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    parser.add_argument("--only", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        _step(arguments.only, arguments.images, arguments.cells, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [_measured(step, arguments, arguments.folder or Path(folder)) for step in arguments.steps]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.output:
        put_rows(arguments.output, table, ["step", "images", "cells"])


def _measured(step: str, arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    counts = ["--images", str(arguments.images), "--cells", str(arguments.cells), "--folder", str(folder)]
    command = [sys.executable, "-m", "benchmarks.large_records", *counts, "--only", step]
    clock = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, cpu = done.stdout.split()[-2:]
    return {
        "step": step, "images": arguments.images, "cells": arguments.cells,
        "records": arguments.images * arguments.cells, "peak MB": round(float(peak)),
        "CPU s": round(float(cpu)), "wall s": round(time.perf_counter() - clock),
    }  # fmt: skip


def _step(step: str, images: int, cells: int, folder: Path) -> None:
    from robustbench_aigen.runs.run import Run

    folder.mkdir(parents=True, exist_ok=True)
    if step == "write":
        _write(images, cells, folder)
    elif step == "summary":
        from robustbench_aigen.metrics.summary import summarise

        run = Run.load(folder / "run")
        summarise(((key, run.cells.cell(*key)) for key in run.cells), run.info.pipelines, "accuracy")
    elif step == "baseline":
        Run.load(folder / "run").save_baseline(folder / "baseline")
    elif step == "gate":
        from robustbench_aigen.views.gating.verdict import gate

        run = Run.load(folder / "run")
        assert gate(run, folder / "baseline", config={"metrics": ["accuracy", "tpr"]}).passed
    else:
        Run.load(folder / "run").report(folder / "report")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)


def _write(images: int, cells: int, folder: Path) -> None:
    """Write a run folder part by part. Its summary has accuracy alone."""
    from robustbench_aigen.data.samples import fingerprint
    from robustbench_aigen.metrics.summary import ALL_GENERATORS, COLUMNS
    from robustbench_aigen.runs.folder import no_gallery, write_run
    from robustbench_aigen.runs.info import RunInfo

    stages: dict[str, list[dict[str, object]]] = {"clean": []} | {
        f"p{number}": [_stage(number)] for number in range(1, cells)
    }
    info = RunInfo.of(
        {
            "format": 1, "run_id": "20250101-000000", "scenario": {"name": "large"}, "command": "",
            "pipelines": [{"name": name, "family": name, "swept": [], "smaller": None, "stages": own} for name, own in stages.items()],
            "data": {
                "source": "made up", "split": "test", "images": images, "real": images // 2, "fake": images - images // 2,
                "generators": [f"generator {number}" for number in range(5)],
                "fingerprint": fingerprint([("large", 0, "", str(images))]), "unreadable": [],
            },
            "detectors": [{"name": "stub", "threshold": 0.5}], "trust": {"flags": []},
        }
    )  # fmt: skip
    rows = pd.DataFrame({"pipeline": [*stages]}).assign(
        detector="stub", generator=ALL_GENERATORS, family=[*stages], n=images, accuracy=0.8, trust="ok"
    )
    summary = pd.concat([pd.DataFrame(columns=COLUMNS, dtype=float), rows])[COLUMNS]
    write_run(folder / "run", info, _frames(images, list(stages)), summary, no_gallery())


def _stage(number: int) -> dict[str, object]:
    if number % 2:
        return {"attack": "pgd", "backend": "native", "norm": "linf", "eps": number / 255, "steps": 10}
    return {"perturb": "jpeg", "quality": 100 - number}


def _frames(images: int, pipelines: list[str]) -> Iterator[pd.DataFrame]:
    from robustbench_aigen.runs.records import RUN_RECORD_DTYPES

    for place, pipeline in enumerate(pipelines):
        for first in range(0, images, _PART):
            number = np.arange(first, min(first + _PART, images))
            rng = np.random.default_rng(first)
            label = number % 2
            clean = rng.normal(3.0 * label - 1.5, 1.0).astype(np.float32)
            rng = np.random.default_rng([place, first])
            odds = clean if place == 0 else clean + rng.normal(-0.1 * place * label, 0.5).astype(np.float32)
            right, right_clean = (odds >= 0) == (label == 1), (clean >= 0) == (label == 1)
            attacked = right_clean & bool(place % 2)
            frame = pd.DataFrame(
                {
                    "detector": "stub", "pipeline": pipeline, "sample": [f"test/{each:09}.png" for each in number],
                    "generator": np.where(label == 1, [f"generator {each}" for each in number // 2 % 5], "real"),
                    "label": label, "clean_score": 1 / (1 + np.exp(-clean)), "score": 1 / (1 + np.exp(-odds)),
                    "threshold": 0.5, "attacked": attacked, "correct_clean": right_clean, "correct": right,
                    "correct_float": right, "linf": 4 / 255, "l2": 1.0, "steps": 10, "queries": 0,
                    "sha256": [sha256(str(each).encode()).hexdigest() for each in number], "search_eps": np.nan,
                    "psnr": 40.0, "ssim": 0.99, "masked_area": np.nan, "generated_area": np.nan, "chain": "", "found_by": "", "distance": np.nan, "distance_limit": np.nan, "clean_log_odds": clean, "log_odds": odds, "threshold_log_odds": 0.0,
                }
            )  # fmt: skip
            yield frame.astype(RUN_RECORD_DTYPES)


if __name__ == "__main__":
    main()
