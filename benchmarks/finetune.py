"""What an epoch of PGD training costs beside the same loop written with torchattacks, in one process.

    python -m benchmarks.finetune --data CIFAKE [--images 4096] [--steps 7] [--eps 2/255] [--epochs 1] [--threads 2]

Two copies of one detector go through the same batches in the same order with the same optimiser, batch by batch in
alternating order, so that what else the machine does falls on both. ``ours`` is what ``robust-aigen finetune`` does;
``torchattacks`` crafts every batch with ``torchattacks.PGD`` (running statistics, random start, as it comes) and takes
the training step in float32; ``torchattacks, bf16 step`` takes that step in reduced precision, as ours is. Afterwards
all are judged alike: PGD-20 of this package on test images, on 8 bits, in float32.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torchattacks
from torch import Tensor
from torch.nn import functional

from robustbench_aigen import load_detector
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.precision import gradient_precision, resolve_device, resolve_precision
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.training.adversarial.file import Method
from robustbench_aigen.training.adversarial.objective import Objective
from robustbench_aigen.training.adversarial.rates import Judge, ValidationImages

BATCH = 64
Step = Callable[[Tensor, Tensor], None]
Maker = Callable[[Detector, float, int, torch.device], Step]


def main() -> None:
    """Parse the command line, train, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="minigen/cifake_cnn")
    parser.add_argument("--data", default="minigen")
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--eps", default="2/255")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device, eps = resolve_device(arguments.device), float(read_fraction(arguments.eps) or 0)
    levels, labels, _ = _images(arguments.data, "train", arguments.images)
    original = load_detector(arguments.detector, device=device)
    original.network.requires_grad_(True)
    steps: dict[str, tuple[Detector, Step]] = {}
    makers: dict[str, Maker] = {
        "ours": _ours,
        "torchattacks": partial(_torchattacks, reduced=False),
        "torchattacks, bf16 step": partial(_torchattacks, reduced=True),
    }
    for name, make in makers.items():
        detector = deepcopy(original)
        steps[name] = detector, make(detector, eps, arguments.steps, device)
    seconds = dict.fromkeys(steps, 0.0)
    order = torch.Generator().manual_seed(0)
    for number, rows in enumerate(
        rows
        for _ in range(arguments.epochs)
        for rows in torch.randperm(len(levels), generator=order).split(BATCH)
        if len(rows) == BATCH
    ):
        pixels, wanted = to_pixels(levels[rows].to(device)), labels[rows].to(device)
        names = list(steps)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name] += _timed(steps[name][1], pixels, wanted, device)
    table = pd.DataFrame(
        [_row(name, detector, seconds, eps, device, arguments) for name, (detector, _) in steps.items()]
    )
    print(table.to_string(index=False))


def _images(source: str, split: str, limit: int) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    selection = select(open_source(source, Path()), split, limit)
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    samples = selection.samples
    return levels, torch.tensor([s.label for s in samples]), tuple(s.id for s in samples)


def _optimizer(detector: Detector) -> torch.optim.Optimizer:
    return torch.optim.AdamW(detector.network.parameters(), lr=1e-3, weight_decay=1e-4)


def _ours(detector: Detector, eps: float, steps: int, device: torch.device) -> Step:
    precision = resolve_precision("auto", device)
    detector.network.to(memory_format=torch.channels_last)
    following = FollowingDetector(detector, precision)
    objective = Objective(Method(name="pgd", steps=steps), ThreatModel("linf", eps), detector, following)
    optimizer, generator = _optimizer(detector), torch.Generator().manual_seed(0)

    def step(pixels: Tensor, labels: Tensor) -> None:
        detector.train()
        with gradient_precision(precision, device):
            loss, _ = objective.loss(detector, pixels, labels, eps, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _torchattacks(detector: Detector, eps: float, steps: int, device: torch.device, *, reduced: bool) -> Step:
    attack = torchattacks.PGD(detector, eps=eps, alpha=2.5 * eps / steps, steps=steps)
    optimizer = _optimizer(detector)
    precision = resolve_precision("auto", device) if reduced else "fp32"

    def step(pixels: Tensor, labels: Tensor) -> None:
        detector.train()
        adversarial = attack(pixels, labels)
        with gradient_precision(precision, device):
            logits = detector(adversarial)
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _timed(step: Step, pixels: Tensor, labels: Tensor, device: torch.device) -> float:
    clock = time.perf_counter()
    step(pixels, labels)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - clock


def _row(
    name: str,
    detector: Detector,
    seconds: dict[str, float],
    eps: float,
    device: torch.device,
    arguments: argparse.Namespace,
) -> dict[str, str]:
    following = FollowingDetector(detector, "fp32")
    judge = Judge(detector, following, norm="linf", eps=eps, steps=20, seed=0)
    images = ValidationImages(*_images(arguments.data, "test", arguments.judged))
    rates = judge.rates(images, 128, device)
    return {
        "": name,
        "seconds": f"{seconds[name]:.1f}",
        "ours as a share": f"{100 * seconds['ours'] / seconds[name]:.0f} %",
        "clean": f"{100 * rates.balanced:.1f} %",
        "PGD-20": f"{100 * rates.robust_balanced:.1f} %",
    }


if __name__ == "__main__":
    main()
