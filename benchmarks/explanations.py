"""What explanations cost beside the bare forward and backward passes that they consist of.

    python -m benchmarks.explanations [--images 100] [--side 224] [--steps 32] [--batch-size 16] [--rounds 3]

Grad-CAM and integrated gradients of a ResNet-18 with random weights. The bare passes are plain PyTorch on the same
detector: one of each for Grad-CAM, and one of each for every step of integrated gradients, in batches of the same size,
without a copy of the weights in another layout. Both alternate in one process; times are processor times, medians
over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from benchmarks.table_file import put_rows
from robustbench_aigen.detectors.contract import Detector, log_odds
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.engine.provenance import processor
from robustbench_aigen.explain import maps


def main() -> None:
    """Measure both methods and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    detector = Detector(build_architecture("resnet18"), name="resnet18").eval()
    detector.network.requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    shape = (arguments.images, 3, arguments.side, arguments.side)
    images = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    size, steps = arguments.batch_size, arguments.steps

    def explained(method: str, **options: int) -> Callable[[], object]:
        return lambda: maps(detector, images, method, towards="fake", batch_size=size, **options)

    methods = {
        "grad_cam": (1, explained("grad_cam")),
        "integrated_gradients": (
            steps,
            explained("integrated_gradients", steps=steps, most_steps=steps),
        ),
    }
    for _, explain in methods.values():
        explain()  # Libraries are imported, and the prepared copy is made.
    rows = []
    for method, (passes, explain) in methods.items():
        seconds: dict[str, list[float]] = {"bare": [], "explained": []}
        for _ in range(arguments.rounds):
            seconds["bare"].append(timed(partial(bare, detector, images, passes, size)))
            seconds["explained"].append(timed(explain))
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        rows.append(
            {
                "method": method, "images": arguments.images, "side": arguments.side, "passes": passes,
                "bare": round(middle["bare"], 2), "explained": round(middle["explained"], 2),
                "ratio": round(middle["explained"] / middle["bare"], 3), "threads": torch.get_num_threads(),
                "processor": processor(),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.output:
        put_rows(arguments.output, table, ["method", "images", "side", "passes", "threads"])


def bare(detector: Detector, images: torch.Tensor, passes: int, size: int) -> None:
    """Pass all images forwards and backwards, some times."""
    for some in images.split(size):
        for _ in range(passes):
            leaf = (some / 255).requires_grad_()
            torch.autograd.grad(log_odds(detector(leaf)).sum(), leaf)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of processor time of a call."""
    clock = time.process_time()
    call()
    return time.process_time() - clock


if __name__ == "__main__":
    main()
