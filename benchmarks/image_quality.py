"""What SSIM takes of a JPEG cell, and what it would take on every image.

    python -m benchmarks.image_quality FACES [--sides 32 300 1024] [--images 129] [--detector minigen/lenet5] [--rounds 3]

FACES is a folder with ``ai/`` and ``real/``. The cell goes through the whole engine, from an empty cache, with
``ssim: sample`` and ``ssim: all`` in alternating order; SSIM is timed where the cell calls it. A small detector leaves
SSIM the largest share.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor

from benchmarks.table_file import put_rows
from benchmarks.whole_run.__main__ import written
from robustbench_aigen.engine import pipeline_state
from robustbench_aigen.engine.provenance import processor
from robustbench_aigen.evaluation import run
from robustbench_aigen.numerics.image_quality import ssim
from robustbench_aigen.scenario.scenario import load_scenario, with_detectors

SCENARIO = """version: 1
name: image_quality
data: {{source: {images}, split: all}}
detectors: [minigen/lenet5]
ssim: {rule}
pipelines:
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
    parser.add_argument("--detector", default="minigen/lenet5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    arguments = parser.parse_args()
    rows = []
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            rows += measured(arguments, side, Path(folder))
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if arguments.output:
        put_rows(arguments.output, table, ["side", "images", "detector", "ssim", "threads"])


def measured(arguments: argparse.Namespace, side: int, folder: Path) -> list[dict[str, object]]:
    """Run the cell on images of one size with both rules, and return a row for each."""
    count = written(arguments.faces, folder / "images", side, arguments.images)
    cells: dict[str, list[float]] = {"sample": [], "all": []}
    shares: dict[str, list[float]] = {"sample": [], "all": []}
    images = {}
    for number in range(arguments.rounds):
        for rule in list(cells)[:: -1 if number % 2 else 1]:
            file = folder / f"{rule}.yaml"
            file.write_text(SCENARIO.format(images=folder / "images", rule=rule))
            loaded = with_detectors(load_scenario(file), [arguments.detector], None, Path.cwd())
            with timed_ssim() as seconds:
                result = run(loaded, output=folder / f"{rule}{number}", trust_code=True)
            (cell,) = (row for row in result.info.timings if row.pipeline == "jpeg")
            cells[rule].append(cell.seconds)
            shares[rule].append(sum(seconds) / cell.seconds)
            assert result.info.ssim is not None
            images[rule] = result.info.ssim.measured
    return [
        {
            "side": side, "images": count, "detector": arguments.detector, "ssim": rule, "measured": images[rule],
            "cell s": round(statistics.median(cells[rule]), 3), "share": round(statistics.median(shares[rule]), 3),
            "threads": torch.get_num_threads(), "processor": processor(),
        }
        for rule in cells
    ]  # fmt: skip


@contextmanager
def timed_ssim() -> Iterator[list[float]]:
    """Give a list to which every call of SSIM in a cell adds its seconds."""
    seconds: list[float] = []

    def timed(one: Tensor, other: Tensor) -> Tensor:
        clock = time.perf_counter()
        found = ssim(one, other)
        seconds.append(time.perf_counter() - clock)
        return found

    with patch.object(pipeline_state, "ssim", timed):
        yield seconds


if __name__ == "__main__":
    main()
