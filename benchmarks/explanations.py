"""What explanations cost beside the bare forward and backward passes that they consist of.

    python -m benchmarks.explanations [--images 100] [--side 224] [--steps 32] [--batch-size 16] [--groups 5]

Grad-CAM and integrated gradients of a ResNet-18 with random weights. The bare passes are plain PyTorch on the same
detector: one of each for Grad-CAM, and one of each for every step of integrated gradients, in batches of the same size,
without a copy of the weights in another layout. The images are taken in groups, and both alternate in one process. Times
are sums of processor times; ``from`` and ``to`` are the smallest and the largest ratio of a group. Grad-CAM finds its
layer once for each call, so once for each group here.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    detector = Detector(build_architecture("resnet18"), name="resnet18").eval()
    detector.network.requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    shape = (arguments.images, 3, arguments.side, arguments.side)
    images = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    size, steps = arguments.batch_size, arguments.steps

    methods: dict[str, tuple[int, dict[str, int]]] = {
        "grad_cam": (1, {}),
        "integrated_gradients": (steps, {"steps": steps, "most_steps": steps}),
    }
    rows = []
    for method, (passes, options) in methods.items():
        call: dict[str, Any] = {"method": method, "batch_size": size, **options}
        maps(detector, images[:2], **call)  # Libraries are imported, and the prepared copy is made.
        bare_seconds, explain_seconds = [], []
        for group in images.chunk(arguments.groups):
            bare_seconds.append(timed(partial(bare, detector, group, passes, size)))
            explain_seconds.append(timed(partial(maps, detector, group, **call)))
        ratios = [one / other for one, other in zip(explain_seconds, bare_seconds, strict=True)]
        rows.append(
            {
                "method": method, "images": arguments.images, "side": arguments.side, "passes": passes,
                "bare s": round(sum(bare_seconds), 2), "explained s": round(sum(explain_seconds), 2),
                "ratio": round(sum(explain_seconds) / sum(bare_seconds), 3), "from": round(min(ratios), 3),
                "to": round(max(ratios), 3), "threads": torch.get_num_threads(), "processor": processor(),
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
