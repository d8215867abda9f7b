"""What ``auto`` costs when it gives up, and what it misses: against its exhaustive form and against pyautoattack.

    python -m benchmarks.auto_effort [--detectors ID_OR_FILE …] [--eps 2/255] [--limit 200] [--data SOURCE] [--output FILE]

All three attack the images that a detector judges right, one after the other, in one process and one thread;
``seconds`` are processor time. pyautoattack runs APGD-CE, FAB and Square with its own defaults, and is left out where it
is not installed. ``withstood`` are the images that are still judged right on 8 bits, in float32.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch

from benchmarks.strength import attack_task, judged_right, run_pyautoattack
from benchmarks.table_file import put_rows
from robustbench_aigen import load_detector
from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import Selection, select
from robustbench_aigen.metrics.giving_up import PriceOfGivingUp
from robustbench_aigen.stages.found_by import GIVEN_UP, SAMPLED, WITHSTOOD
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import make_stage


def main() -> None:
    """Parse the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detectors", nargs="*", default=["minigen/cifake_cnn+pgd"])
    parser.add_argument("--eps", default="2/255")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--data", default="minigen")
    parser.add_argument(
        "--output", type=Path, help="a CSV file; rows of the same detector and eps are replaced"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    selection = select(open_source(arguments.data, Path()), "test", arguments.limit)
    for name in arguments.detectors:
        rows = [
            {
                "detector": Path(name).parent.name if Path(name).is_file() else name,
                "eps": arguments.eps,
                **row,
            }
            for row in _measured(name, selection, float(read_fraction(arguments.eps) or 0))
        ]
        for row in rows:
            print(row, flush=True)
        if arguments.output is not None:
            put_rows(arguments.output, pd.DataFrame(rows), ["detector", "eps"])


def _measured(name: str, selection: Selection, eps: float) -> list[dict[str, object]]:
    detector = load_detector(name)
    levels, labels, names = judged_right(detector, selection)
    rows: list[dict[str, object]] = []
    for effort in ("adaptive", "exhaustive"):
        stage = make_stage(shipped_attack("auto"), {"eps": eps, "effort": effort})
        task = attack_task(stage, detector, levels, labels, names)
        clock = time.process_time()
        outcome = run_attack(stage, task, _silent)
        seconds = time.process_time() - clock
        withstood = int((~task.is_fooled(torch.arange(len(levels)), outcome.log_odds)).sum())
        fell = sum(each.endswith(SAMPLED) for each in outcome.found_by)
        price = PriceOfGivingUp(
            len(levels), withstood, outcome.found_by.count(GIVEN_UP), fell + outcome.found_by.count(WITHSTOOD), fell,
        )  # fmt: skip
        rows.append({
            "attack": f"auto, {effort}", "attacked": len(levels), "withstood": withstood, "seconds": round(seconds, 1),
            "given_up": price.given_up, "sampled": price.sampled if price.given_up else 0, "could_fall": price.most,
        })  # fmt: skip
    if find_spec("pyautoattack") is not None:
        stage = make_stage(shipped_attack("auto"), {"eps": eps})
        task = attack_task(stage, detector, levels, labels, names)
        clock = time.process_time()
        fooled, _ = run_pyautoattack(task, ["apgd-ce", "fab", "square"], "linf", eps)
        rows.append({
            "attack": "pyautoattack: apgd-ce, fab, square", "attacked": len(levels), "withstood": int((~fooled).sum()),
            "seconds": round(time.process_time() - clock, 1), "given_up": 0, "sampled": 0, "could_fall": 0,
        })  # fmt: skip
    seconds_of = [float(str(row["seconds"])) for row in rows]
    return [
        {**row, "ratio": round(own / seconds_of[1], 3)} for row, own in zip(rows, seconds_of, strict=True)
    ]


def _silent(images: int) -> None:
    """Take no notice of progress."""
    del images


if __name__ == "__main__":
    main()
