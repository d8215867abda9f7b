"""Whether anything in the libraries is stronger than ``auto``: every attack of the catalogue against its survivors.

    python -m benchmarks.strength [--limit 1000] [--detectors ID_OR_FILE …] [--data SOURCE] [--queried N] [--output FILE]

An attack leaves fewer images standing than ``auto`` only by breaking images that ``auto`` leaves standing, so it is
enough to run it on those: ``breaks`` bounds, in images, how far its robust accuracy can be below that of ``auto``.
Every recipe runs over torchattacks, ART, adv-lib and foolbox with the budget of ``auto`` and its own defaults otherwise, and
pyautoattack's APGD-CE, FAB and Square beside them where it is installed. All are judged on 8 bits, in float32.

What sees scores or verdicts alone takes seconds an image. ``--queried`` runs that on so many survivors: those on which
``auto`` came closest to success. The column ``of`` says on how many an attack ran; ``breaks`` is empty where a library's
attack returned what is no image.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks.table_file import put_rows
from robustbench_aigen import load_detector
from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.attacks.verification import AttackContractError
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import Selection, select
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.scoring import default_batch_size, predict
from robustbench_aigen.detectors.shipped import shipped_detectors
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.numerics.seeding import SampleStreams, library_randomness
from robustbench_aigen.stages.parameters import read_fraction
from robustbench_aigen.stages.recipe import LIBRARIES, AttackRecipe
from robustbench_aigen.stages.recipe_files import shipped_attack, shipped_recipes
from robustbench_aigen.stages.stage import Attack, make_stage

BUDGETS = ("linf 1/255", "linf 2/255", "l2 0.25")


def main() -> None:
    """Parse the command line, measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--detectors", nargs="*", default=list(shipped_detectors()))
    parser.add_argument("--data", default="minigen")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--budgets", nargs="*", default=list(BUDGETS), help="such as 'linf 1/255'")
    parser.add_argument("--without", nargs="*", default=[], help="recipes to leave out")
    parser.add_argument("--queried", type=int, help="survivors that black boxes are run on; default: all")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--output", type=Path, help="a CSV file; rows of the same detector and budget are replaced"
    )
    arguments = parser.parse_args()
    worst = 0
    for name in arguments.detectors:
        for budget in arguments.budgets:
            table = pd.DataFrame(list(_measure(arguments, name, budget))).astype({"breaks": "Int64"})
            print(table.to_string(index=False), flush=True)
            worst = max([worst, *table[table["attack"] != "auto"]["breaks"].dropna()])
            if arguments.output:
                put_rows(arguments.output, table, ["detector", "budget"])
    print(f"the strongest breaks {worst:.0f} images that auto leaves standing")


def _measure(arguments: argparse.Namespace, name: str, budget: str) -> Iterator[dict[str, object]]:
    norm, eps = budget.split()
    device = resolve_device(arguments.device)
    detector = load_detector(name, device=device)
    selection = select(open_source(arguments.data, Path()), "test", arguments.limit)
    levels, labels, names = judged_right(detector, selection)

    def attacked(stage: Attack, rows: Tensor) -> tuple[Tensor, Tensor, float]:
        task = attack_task(stage, detector, levels[rows], labels[rows], [names[row] for row in rows.tolist()])
        clock = time.perf_counter()
        outcome = run_attack(stage, task, _silent)
        fooled = task.is_fooled(torch.arange(len(rows)), outcome.log_odds)
        return fooled, outcome.log_odds, time.perf_counter() - clock

    auto = shipped_attack("auto")
    stage = make_stage(auto, {"norm": norm, "eps": eps})
    rows = torch.arange(len(levels))
    fooled, log_odds, seconds = attacked(stage, rows)
    left = rows[~fooled]
    left = left[log_odds[~fooled].abs().argsort()]

    def row(attack: str, breaks: int | None, of: Tensor, seconds: float | None) -> dict[str, object]:
        return {
            "detector": Path(name).stem if Path(name).is_file() else name, "budget": budget,
            "images": len(selection.indices), "attack": attack, "breaks": breaks, "of": len(of),
            "seconds": seconds and round(seconds, 1),
        }  # fmt: skip

    yield row("auto", int(fooled.sum()), rows, seconds)
    if not len(left):
        return
    for recipe, backend in _rivals(norm, set(arguments.without)):
        rival = make_stage(recipe, {"norm": norm, "eps": eps, "backend": backend})
        some = left if recipe.access == "gradients" else left[: arguments.queried]
        called = f"{recipe.name} ({backend})"
        try:
            fooled, _, seconds = attacked(rival, some)
        except AttackContractError as error:
            print(f"{name}, {budget}: {error}", flush=True)
            yield row(called, None, some, None)
        else:
            yield row(called, int(fooled.sum()), some, seconds)
    if find_spec("pyautoattack") is not None:
        for attacks, some in ((["apgd-ce", "fab"], left), (["square"], left[: arguments.queried])):
            task = attack_task(
                stage, detector, levels[some], labels[some], [names[each] for each in some.tolist()]
            )
            fooled, seconds = run_pyautoattack(task, attacks, norm, float(read_fraction(eps) or 0))
            yield row(f"{' + '.join(attacks)} (pyautoattack)", int(fooled.sum()), some, seconds)


def judged_right(detector: Detector, selection: Selection) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return the images that a detector judges right at one half: N×3×H×W uint8, labels and names."""
    device = next(detector.parameters()).device
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    labels = torch.tensor([sample.label for sample in selection.samples])
    odds = predict(detector, levels, default_batch_size(detector, device), device)
    rows = (verdicts(odds, HALF) == labels).nonzero().flatten()
    return levels[rows], labels[rows], tuple(selection.samples[row].id for row in rows.tolist())


def attack_task(
    stage: Attack, detector: Detector, levels: Tensor, labels: Tensor, names: Sequence[str]
) -> AttackTask:
    """Return the task of an attack that stops at the first success."""
    device = next(detector.parameters()).device
    return make_task(
        stage,
        detector,
        levels,
        labels,
        SampleStreams(42, tuple(names), 0),
        threshold=HALF,
        early_stop=True,
        batch_size=default_batch_size(detector, device),
        device=device,
        precision=resolve_precision("auto", device),
    )


def _rivals(norm: str, without: set[str]) -> Iterator[tuple[AttackRecipe, str]]:
    for recipe in shipped_recipes().values():
        if isinstance(recipe, AttackRecipe) and norm in recipe.norms and recipe.name not in without:
            for backend in LIBRARIES:
                if recipe.backends.has(backend, norm):
                    yield recipe, backend


def run_pyautoattack(task: AttackTask, attacks: list[str], norm: str, eps: float) -> tuple[Tensor, float]:
    """Run attacks of pyautoattack on the images of a task; return which fall, N booleans, and the seconds."""
    from pyautoattack import AutoAttack

    clock = time.perf_counter()
    attack = AutoAttack(
        task.detector, attacks=attacks, device=task.device, eps=eps,
        norm="Linf" if norm == "linf" else "L2", seed=0, version="custom",
    )  # fmt: skip
    rows = torch.arange(len(task.levels))
    with library_randomness(task.streams):
        crafted = attack.run_standard_evaluation(
            task.pixels(rows), task.labels.to(task.device), batch_size=task.batch_size
        )
    adversarial = crafted[0] if isinstance(crafted, tuple) else crafted
    within = task.threat.project(task.pixels(rows), adversarial.to(task.device))
    return task.is_fooled(rows, task.log_odds(rows, within)), time.perf_counter() - clock


def _silent(images: int) -> None:
    """Take no notice of progress."""
    del images


if __name__ == "__main__":
    main()
