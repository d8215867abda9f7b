"""How long a whole run takes, from the command to the report, beside the plain script with torchattacks or foolbox.

    python -m benchmarks.whole_run FACES [--sides 32 300 1024] [--images 129] [--rounds 3] [--against torchattacks]

FACES is a folder with ``ai/`` and ``real/``. ``python benchmarks/whole_run/small_resnet.py FACES 12`` trains the
detector first. Every contestant is a process of its own on the same files, with an empty cache; rounds alternate
their order, and a ratio is taken round by round. The table holds the share of the run that trust checks take, too.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from PIL import Image

from benchmarks.table_file import put_rows
from robustbench_aigen.engine.provenance import processor
from robustbench_aigen.runs.info import RunInfo
from robustbench_aigen.runs.run import Run
from robustbench_aigen.runs.timings import trust_share

HERE = Path(__file__).resolve().parent
SCENARIO = """version: 1
name: whole_run
data: {{source: {images}, split: all}}
detectors: [{{id: "python:{detector}:build", name: small_resnet, fake_index: 1, mean: [0, 0, 0], std: [1, 1, 1]}}]
pipelines:
  pgd: [{{attack: pgd, eps: [1/255, 4/255], steps: 10}}]
  jpeg: [{{perturb: jpeg, quality: 75}}]
"""


def main() -> None:
    """Measure every side and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 300, 1024])
    parser.add_argument("--images", type=int, default=129)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", nargs="+", default=["torchattacks", "foolbox"])
    parser.add_argument(
        "--set", nargs="*", default=[], help="more keys of the scenario, such as 'trust: full'"
    )
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            table = measured(arguments, side, Path(folder))
        print(table.to_string(index=False), flush=True)
        if arguments.output:
            put_rows(arguments.output, table, ["side", "images", "settings", "threads"])


def measured(arguments: argparse.Namespace, side: int, folder: Path) -> pd.DataFrame:
    """Run every contestant on images of one size, and return a row for each."""
    count = written(arguments.faces, folder / "images", side, arguments.images)
    scenario = folder / "whole_run.yaml"
    more = "".join(f"{line}\n" for line in arguments.set)
    scenario.write_text(SCENARIO.format(images=folder / "images", detector=HERE / "small_resnet.py") + more)
    libraries = [name for name in arguments.against if find_spec(name)]
    commands = {
        name: [sys.executable, str(HERE / "script.py"), str(folder / "images"), name] for name in libraries
    }
    times: dict[str, list[float]] = {name: [] for name in ("robust-aigen", *commands)}
    accuracy: dict[str, dict[str, float]] = {}
    for number in range(arguments.rounds):
        output = folder / f"out{number}"
        run = [
            sys.executable,
            "-m",
            "robustbench_aigen",
            "run",
            str(scenario),
            "--trust-code",
            "--output",
            str(output),
        ]
        order = {"robust-aigen": run, **commands}
        for name in list(order)[:: -1 if number % 2 else 1]:
            clock = time.perf_counter()
            done = subprocess.run(order[name], check=True, capture_output=True, text=True)
            times[name].append(time.perf_counter() - clock)
            if name != "robust-aigen":
                accuracy[name] = {
                    line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()
                }
        info, accuracy["robust-aigen"] = _of_run(output / "whole_run" / "latest")
    rows = []
    for name, seconds in times.items():
        ratios = [own / theirs for own, theirs in zip(times["robust-aigen"], seconds, strict=True)]
        rows.append(
            {
                "side": side, "images": count, "settings": " ".join(arguments.set), "contestant": name,
                "seconds": round(statistics.median(seconds), 1),
                "run / contestant": round(statistics.median(ratios), 2),
                "lowest": round(min(ratios), 2), "highest": round(max(ratios), 2),
                **{key: round(100 * value, 1) for key, value in accuracy[name].items()},
                "trust checks": round(trust_share(info), 2) if name == "robust-aigen" else None,
                "threads": torch.get_num_threads(), "processor": processor(),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _of_run(folder: Path) -> tuple[RunInfo, dict[str, float]]:
    run = Run.load(folder)
    overall = run.overall()
    return run.info, dict(zip(overall["pipeline"], overall["accuracy"], strict=True))


def written(faces: Path, folder: Path, side: int, count: int) -> int:
    """Write every tenth image, or more where that is too few, at a size; return how many there are."""
    files = [file for name in ("real", "ai") for file in sorted((faces / name).glob("*"))]
    chosen = files[::10]
    chosen += [file for file in files if file not in chosen]
    for file in chosen[:count]:
        target = folder / file.parent.name / f"{file.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(target)
    return min(count, len(chosen))


if __name__ == "__main__":
    main()
