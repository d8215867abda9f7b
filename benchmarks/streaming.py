"""What a run costs beside decoding and computing, and whether its memory grows with the number of images.

``python -m benchmarks.streaming --data PARQUET_OR_FOLDER`` takes the images in blocks. Each block is decoded alone, computed
alone on images that are there already, and run as ``robust-aigen run`` does it, in alternating order in one process,
so that other programs on the machine slow all three alike. The quotient is (decode + compute) / run: 1 is a run that
costs nothing more, and with a core to spare it can be above, since the next shard is decoded meanwhile.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from robustbench_aigen.data.samples import read_encoded
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.execution import Execution
from robustbench_aigen.engine.experiment import Experiment, make_experiment
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.engine.shards import Shard, ShardImages, decode_shard, make_shards
from robustbench_aigen.engine.store import ShardCache
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.scenario.scenario import load_scenario

PIPELINES = {
    "clean": "{}",
    "noise": "{noise: [{perturb: gaussian_noise, sigma: 8/255}]}",
    "pgd": "{pgd: [{attack: pgd, eps: 4/255, steps: 10}]}",
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="minigen")
    parser.add_argument("--detector", default="minigen/lenet5")
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--block", type=int, default=4, help="shards of 256 images in a block")
    parser.add_argument("--pipelines", nargs="+", choices=PIPELINES, default=list(PIPELINES))
    parser.add_argument("--threads", type=int, help="of torch; by default its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in arguments.pipelines:
        plan = _plan(arguments, PIPELINES[name])
        shards = list(make_shards(plan.selection))
        size = arguments.block
        _measure(name, plan, [shards[first : first + size] for first in range(0, len(shards), size)])


def _plan(arguments: argparse.Namespace, pipelines: str) -> Experiment:
    source = arguments.data if arguments.data == "minigen" else str(Path(arguments.data).resolve())
    text = (
        "version: 1\nname: streaming\n"
        f"data: {{source: '{source}', split: {arguments.split}, limit: {arguments.images}}}\n"
        f"detectors: ['{arguments.detector}']\npipelines: {pipelines}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "streaming.yaml"
        file.write_text(text, encoding="utf-8")
        return make_experiment(load_scenario(file), device="cpu")


def _measure(name: str, plan: Experiment, blocks: list[list[Shard]]) -> None:
    cells = [plan.cell(plan.detectors[0], pipeline) for pipeline in plan.pipelines]
    seconds: dict[str, list[float]] = {"decode": [], "compute": [], "run": []}
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(plan, ShardCache(Path(folder), fresh=False), Silent())
        _compute(cells, decode_shard(blocks[0][0]))  # Warm.
        for number, block in enumerate(blocks):
            for part, seconds_taken in _turns(number, cells, block, execution):
                seconds[part].append(seconds_taken)
            memory.append(_resident())
    quotients = [
        (decoding + computing) / running
        for decoding, computing, running in zip(*seconds.values(), strict=True)
    ]
    total = {part: sum(values) for part, values in seconds.items()}
    images = sum(len(shard.indices) for block in blocks for shard in block)
    each = ", ".join(f"{part} {1e6 * value / images:.0f} µs" for part, value in total.items())
    whole = (total["decode"] + total["compute"]) / total["run"]
    print(
        f"{name}: {images} images in {len(blocks)} blocks; an image: {each}; (decode + compute) / run: "
        f"{whole:.2f} in all, {statistics.median(quotients):.2f} in the median block"
    )
    quarters = [memory[len(memory) * quarter // 4] for quarter in range(4)]
    print(f"  resident memory, MB: {', '.join(f'{value:.0f}' for value in [*quarters, memory[-1]])}")


def _turns(
    number: int, cells: list[Cell], block: list[Shard], execution: Execution
) -> Iterator[tuple[str, float]]:
    """Yield the seconds of each part, first one part first and then another."""

    def decoding() -> None:
        for shard in block:
            for index in shard.indices:
                decode(read_encoded(shard.selection.source, index))

    def computing() -> None:
        for images in held:
            _compute(cells, images)

    def running() -> None:
        execution.cell_records(cells, block)

    held = [decode_shard(shard) for shard in block]
    parts: list[tuple[str, Callable[[], None]]] = [
        ("decode", decoding),
        ("compute", computing),
        ("run", running),
    ]
    for place in range(3):
        part, work = parts[(number + place) % 3]
        clock = time.perf_counter()
        work()
        yield part, time.perf_counter() - clock


def _compute(cells: list[Cell], images: ShardImages) -> None:
    """Take decoded images through the cells, keeping nothing; the clean one is first."""
    clean_log_odds = None
    for cell in cells:
        records = cell.run(images, clean_log_odds, lambda _, make: make(), lambda _: None)
        if clean_log_odds is None:
            clean_log_odds = torch.from_numpy(records["clean_log_odds"].to_numpy().copy())


def _resident() -> float:
    """Return this process's memory in MB, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
