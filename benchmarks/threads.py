"""What several threads take of one thread's time in perturbations.

    python -m benchmarks.threads [--side 256] [--images 2000] [--rounds 5] [--threads 2] [--output FILE.csv]

Smooth random images go through each perturbation with one thread and with several, block by block in alternating order.
The bytes must be equal. The seconds are sums over the blocks of the shortest of the rounds, because other programs on
the machine only add time. The network's threads play no part.
"""

import argparse
import os
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.table_file import put_rows
from robustbench_aigen.engine.provenance import processor
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.numerics.threads import available_cores, using_threads
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import Perturbation, make_stage

_BLOCK = 50
"""Images between two readings of the clock: blocks are short, so that some find the machine quiet."""


def main() -> None:
    """Measure every perturbation and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--perturbations", nargs="+", default=["resize", "gaussian_blur", "jpeg"])
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    images = smooth_images(arguments.images, arguments.side)
    rows = []
    for name in arguments.perturbations:
        stage = make_stage(shipped_recipes()[name], {})
        assert isinstance(stage, Perturbation), f"{name} is an attack"
        one, several = measured(stage, images, arguments)
        rows.append(
            {
                "perturbation": name, "side": arguments.side, "images": arguments.images,
                "threads": arguments.threads, "one s": round(one, 2), "several s": round(several, 2),
                "ratio": round(several / one, 3), "rounds": arguments.rounds, "processor": processor(),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {available_cores()} cores")
    if arguments.output:
        put_rows(arguments.output, table, ["perturbation", "side", "images", "threads"])


def smooth_images(count: int, side: int) -> Tensor:
    """Return N×3×side×side uint8 images with structure at several scales."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, max(2, side // 16), max(2, side // 16), generator=generator)
    smooth = functional.interpolate(coarse, size=side, mode="bicubic")
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8)


def measured(stage: Perturbation, images: Tensor, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds with one thread and with several.

    Raises
    ------
    AssertionError
        If their bytes differ.
    """
    counts = (1, arguments.threads)
    total = dict.fromkeys(counts, 0.0)
    for number, block in enumerate(images.split(_BLOCK)):
        streams = SampleStreams(42, tuple(f"{number}/{row}" for row in range(len(block))), 0)
        shortest = dict.fromkeys(counts, float("inf"))
        for turn in range(arguments.rounds):
            done = {}
            for count in counts[:: -1 if turn % 2 else 1]:
                own = streams.select(range(len(block)))
                with using_threads(count):
                    clock = time.perf_counter()
                    done[count] = perturb(stage, block, own)
                    shortest[count] = min(shortest[count], time.perf_counter() - clock)
            assert torch.equal(*done.values()), f"{stage.recipe.name}: other bytes with several threads"
        for count in counts:
            total[count] += shortest[count]
    return total[1], total[arguments.threads]


if __name__ == "__main__":
    main()
