"""Core-hours of an evaluation at GenImage's size, from the measured time of a verdict and of a gradient.

    python -m benchmarks.run_cost [ARCHITECTURE …] [--images 100000] [--output FILE.csv]

The weights are random: the arithmetic does not depend on them. The time is that of one thread. ``all fall`` is an
undefended detector, whose images fall at the first steps: the verdict, two gradients and three more verdicts for each
image. ``all hold`` is the most that a recipe costs. A detector lies in between, and ``--dry-run`` measures where.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from benchmarks.table_file import put_rows
from robustbench_aigen.detectors.architectures import build_untrained
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.engine.estimate import work_of
from robustbench_aigen.engine.pace import Pace, network_pace
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import make_stage

SIDES = {
    "lenet5": 32,
    "cifake_cnn": 32,
    "efficientnet_lite": 224,
    "torchvision:resnet50": 224,
    "ferretnet_s": 256,
    "torchvision:vit_b_16": 224,
}
ATTACKS = ("pgd", "auto")


def main() -> None:
    """Measure each architecture and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=[*SIDES])
    parser.add_argument("--images", type=int, default=100_000, help="by default those of GenImage's test set")
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.DataFrame([row for name in arguments.architectures for row in _rows(name, arguments.images)])
    print(table.to_string(index=False))
    if arguments.output:
        put_rows(arguments.output, table, ["architecture", "images", "attack"])


def _rows(name: str, images: int) -> list[dict[str, object]]:
    pace = _pace(name)
    rows: list[dict[str, object]] = []
    for attack in ATTACKS:
        work = work_of(make_stage(shipped_attack(attack), {"norm": "linf", "eps": 1 / 255}))
        falls = 4 * pace.verdict + 2 * pace.gradient
        holds = pace.verdict + work.gradients * pace.gradient + work.queries * pace.query
        rows.append(
            {
                "architecture": name, "side": SIDES[name], "attack": attack,
                "verdict ms": round(1e3 * pace.verdict, 2), "gradient ms": round(1e3 * pace.gradient, 2),
                "images": images, "all fall, core-h": round(images * falls / 3600, 1),
                "all hold, core-h": round(images * holds / 3600, 1),
            }
        )  # fmt: skip
    return rows


def _pace(name: str) -> Pace:
    """Return the best of three measurements: other work on a machine only makes it slower."""
    side = SIDES[name]
    detector = Detector.assembled(
        build_untrained(name, 2, {}, (side, side)).network.eval().requires_grad_(False),
        Preprocessing((side, side)),
        name=name,
        architecture=name,
        weights_sha256="0",
    )
    cpu = torch.device("cpu")
    found = [network_pace(detector, default_batch_size(detector, cpu), cpu, "fp32") for _ in range(3)]
    return Pace(*(min(values) for values in zip(*(each[:4] for each in found), strict=True)))


if __name__ == "__main__":
    main()
