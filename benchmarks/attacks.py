"""How fast the native engine is beside torchattacks, ART and foolbox: one process, one detector, the same images.

    python -m benchmarks.attacks [--detector ID_OR_FILE] [--data SOURCE] [--eps 4/255] [--mode accuracy] [--no-lookahead]

Every contestant gets the same correctly classified 8-bit images, budget, steps and step size, and its result is
judged on the same rounded images in float32. Rounds alternate their order, and the ratio of times is taken round by
round, because machines drift. The floor is the bare forward and backward passes that the native engine took, in its
precision, and one float32 forward an image.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import resize

from benchmarks.table_file import put_rows
from robustbench_aigen import load_detector
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.detectors.scoring import default_batch_size, predict
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.numerics.seeding import SampleStreams, library_randomness
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, make_stage


@dataclass
class Result:
    """One contestant's times in seconds, round by round, and what its last round left standing."""

    times: list[float]
    held: float = float("nan")


def main() -> None:
    """Parse the command line, measure, and print the table."""
    arguments = _arguments()
    stage, task, total = _task(arguments)
    precision = resolve_precision(arguments.precision, task.device)
    steps: list[int] = []

    def native() -> Tensor:
        outcome = run_attack(stage, task, _silent)
        steps[:] = outcome.steps.tolist()
        return outcome.levels

    contestants: dict[str, Callable[[], Tensor | None]] = {"native": native}
    contestants |= {name: make(task) for name, make in _LIBRARIES.items() if name not in arguments.without}
    contestants["floor"] = lambda: _floor(task, sum(steps), precision)
    results = {name: Result([]) for name in contestants}
    names = list(contestants)
    for number in range(arguments.rounds + 1):
        # The first round warms up, and tells the floor what native did.
        for name in reversed(names) if number and number % 2 == 0 else names:
            clock = time.perf_counter()
            levels = contestants[name]()
            seconds = time.perf_counter() - clock
            if number:
                results[name].times.append(seconds)
            if levels is not None:
                results[name].held = _held(task, levels) / total
    print(
        f"{len(task.levels)} of {total} images right on clean input, {arguments.detector}, {vars(arguments)['data']}"
    )
    print(
        f"PGD-{task.params['steps']}, eps {arguments.eps}, {precision} gradients, {torch.get_num_threads()} threads, "
        f"{sum(steps) / len(task.levels):.1f} steps an image, batch {task.batch_size}"
    )
    table = _table(results)
    print(table.to_string(index=False))
    if arguments.output:
        _append(table, arguments, precision, sum(steps) / len(task.levels), len(task.levels))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detector", default="minigen/cifake_cnn")
    parser.add_argument("--arch")
    parser.add_argument("--data", default="minigen")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--eps", default="4/255")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--mode", choices=["accuracy", "score"], default="accuracy")
    parser.add_argument(
        "--lookahead",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the native PGD's own (accuracy mode)",
    )
    parser.add_argument("--batch-size", type=int, help="default: the engine's own")
    parser.add_argument(
        "--side", type=int, help="resize the images to squares first; the libraries want one size"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=list(_LIBRARIES))
    parser.add_argument("--output", type=Path, help="a CSV file; rows of the same settings are replaced")
    return parser.parse_args()


def _task(arguments: argparse.Namespace) -> tuple[Attack, AttackTask, int]:
    """Return the images that the detector gets right, as a task, and how many there were before."""
    device = resolve_device(arguments.device)
    detector = load_detector(arguments.detector, arch=arguments.arch, device=device)
    batch_size = arguments.batch_size or default_batch_size(detector, device)
    selection = select(open_source(arguments.data, Path()), "test", arguments.limit)
    pictures = [decode(selection.source.encoded(index)) for index in selection.indices]
    if arguments.side:
        pictures = [resize(picture, [arguments.side] * 2, antialias=True) for picture in pictures]
    levels = torch.stack(pictures)
    labels = torch.tensor([sample.label for sample in selection.samples])
    right = verdicts(predict(detector, levels, batch_size, device), HALF) == labels
    rows = right.nonzero().flatten().tolist()
    recipe = shipped_attack("pgd")
    given = {"eps": arguments.eps, "steps": arguments.steps, "lookahead": arguments.lookahead}
    stage = make_stage(recipe, given)
    task = make_task(
        stage,
        detector,
        levels[rows],
        labels[rows],
        SampleStreams(42, tuple(selection.samples[row].id for row in rows), 0),
        threshold=HALF,
        early_stop=arguments.mode == "accuracy",
        batch_size=batch_size,
        device=device,
        precision=resolve_precision(arguments.precision, device),
    )
    return stage, task, len(levels)


def _silent(images: int) -> None:
    """Ignore progress."""
    del images


def _held(task: AttackTask, levels: Tensor) -> int:
    """Count the images that are still right, on 8 bits, in float32."""
    log_odds = predict(task.detector.detector, levels, task.batch_size, task.device)
    return int((verdicts(log_odds, HALF) == task.labels).sum())


def _rounded(task: AttackTask, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Run a library's own attack batch by batch and round what it returns, as ours is rounded."""
    parts = []
    for rows in task.batches():
        # The random starts are the native engine's: a comparison of searches is not one of luck.
        with library_randomness(task.try_streams(rows, 0)):
            adversarial = attack(task.pixels(rows), task.labels[rows].to(task.device))
        parts.append(task.threat.round(task.levels[rows].to(task.device), adversarial.to(task.device)).cpu())
    return torch.cat(parts)


def _torchattacks(task: AttackTask) -> Callable[[], Tensor]:
    import torchattacks

    eps, step, steps = (task.params[name] for name in ("eps", "step_size", "steps"))
    attack = torchattacks.PGD(task.detector, eps=eps, alpha=step, steps=steps)
    return lambda: _rounded(task, attack)


def _art(task: AttackTask) -> Callable[[], Tensor]:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        task.detector, torch.nn.CrossEntropyLoss(), tuple(task.levels.shape[1:]), 2, clip_values=(0.0, 1.0),
        device_type="cpu" if task.device.type == "cpu" else "gpu",
    )  # fmt: skip
    attack = ProjectedGradientDescentPyTorch(
        classifier, eps=task.params["eps"], eps_step=task.params["step_size"], max_iter=task.params["steps"],
        num_random_init=1, batch_size=task.batch_size, verbose=False,
    )  # fmt: skip

    def craft(pixels: Tensor, labels: Tensor) -> Tensor:
        one_hot = np.eye(2, dtype=np.float32)[labels.cpu().numpy()]
        return torch.from_numpy(attack.generate(pixels.cpu().numpy(), one_hot))

    return lambda: _rounded(task, craft)


def _foolbox(task: AttackTask) -> Callable[[], Tensor]:
    import foolbox

    model = foolbox.PyTorchModel(task.detector, bounds=(0, 1), device=task.device)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=task.params["step_size"], steps=task.params["steps"])
    return lambda: _rounded(
        task, lambda pixels, labels: attack(model, pixels, labels, epsilons=task.params["eps"])[1]
    )


_LIBRARIES = {"torchattacks": _torchattacks, "art": _art, "foolbox": _foolbox}


def _floor(task: AttackTask, steps: int, precision: Literal["fp32", "bf16"]) -> None:
    """Take so many bare image-steps in full batches, and one float32 forward an image.

    The network is the prepared one (folded, laid out, in its precision): what is left to the attack is its own work.
    """
    batch = to_pixels(task.levels[: task.batch_size].to(task.device))
    labels = task.labels[: len(batch)].to(task.device)
    detector = prepare(cast(Detector, task.detector.detector), precision)
    for _ in range(round(steps / len(batch))):
        leaf = batch.detach().requires_grad_()
        torch.autograd.grad(functional.cross_entropy(detector(leaf), labels), leaf)
    predict(task.detector.detector, task.levels, task.batch_size, task.device)
    if task.device.type == "cuda":
        torch.cuda.synchronize()


def _table(results: dict[str, Result]) -> pd.DataFrame:
    native = results["native"].times
    rows = []
    for name, result in results.items():
        ratios = [theirs / ours for theirs, ours in zip(result.times, native, strict=True)]
        rows.append(
            {
                "": name,
                "seconds (median)": f"{statistics.median(result.times):.2f}",
                "times native": f"{statistics.median(ratios):.2f}",
                "from": f"{min(ratios):.2f}",
                "to": f"{max(ratios):.2f}",
                "accuracy left": "" if name == "floor" else f"{100 * result.held:.1f} %",
            }
        )
    return pd.DataFrame(rows)


def _append(
    table: pd.DataFrame, arguments: argparse.Namespace, precision: str, steps: float, images: int
) -> None:
    """Put the rows into a CSV file, in place of earlier ones of the same settings."""
    head = {
        # A file by its name alone: where it lay is nobody's concern.
        "detector": Path(arguments.detector).stem if Path(arguments.detector).is_file() else arguments.detector,
        "data": Path(arguments.data).name, "eps": arguments.eps, "mode": arguments.mode,
        "lookahead": arguments.lookahead and arguments.mode == "accuracy", "images": images,
        "precision": precision,
        "threads": torch.get_num_threads(), "device": arguments.device, "rounds": arguments.rounds,
        "steps_per_image": round(steps, 2),
    }  # fmt: skip
    rows = table.assign(**head)[[*head, *table.columns]].rename(columns={"": "contestant"})
    put_rows(arguments.output, rows, ["detector", "data", "eps", "mode", "lookahead", "precision"])


if __name__ == "__main__":
    main()
