"""Damages stored files at random and reads them back: the same numbers, a refusal, or a second computation.

python -m benchmarks.corruption [--changes 600] [--seed 0] [--work FOLDER]

A small run, its baseline, a finished and an interrupted training are made once. Every change is made to a copy: a bit
flipped, bytes appended, cut off or zeroed, a digit edited, another file of the same kind or a folder in its place. The
command fails where a change gives another number without a word, an error other than a refusal, or damage that the
next command does not get rid of.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image

from robustbench_aigen import load_detector
from robustbench_aigen.data.opening import open_data
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.evaluation import run
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.data_spec import DataSpec
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.jobs import Job, train_job
from robustbench_aigen.training.planning import Variants, plan_jobs
from robustbench_aigen.training.recipe import load_recipe
from robustbench_aigen.training.splits import split_source
from robustbench_aigen.views.gating.verdict import gate

Outcome = Literal["same", "told", "refused"]
"""The same numbers; the same after a notice; a refusal that names the file."""

EDITED = "an edited card"
"""The result that is compared where a detector's card was edited by hand, which is allowed and told."""
_SCENARIO = """version: 1
name: corruption
summary: A small run.
data: {source: minigen, split: test, limit: 24}
detectors: [minigen/lenet5]
pipelines: {pgd: [{attack: pgd, eps: 1/255, steps: 3}], jpeg: [{perturb: jpeg, quality: 50}]}
gate: {metrics: [accuracy], tolerance: 0.02}
"""
_RECIPE = """version: 1
name: small
arch: lenet5
epochs: 2
batch_size: 8
learning_rate: 1e-3
precision: fp32
"""


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        """Keep a notice."""
        self.notices.append(text)


class _Stopping(Heard):
    """Stops a training in its second epoch."""

    def notice(self, text: str) -> None:
        super().notice(text)
        if "epoch 2/" in text:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Stored:
    """Files that a command wrote, and the command that reads them.

    Parameters
    ----------
    name
        For the table.
    folder
        Where they are, whole.
    files
        Patterns of the files that are damaged.
    read
        Reads a copy of the folder and returns its numbers; raises UserError for a refusal.
    mended
        Whether the command that reads them has to get rid of the damage.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    read: Callable[[Path, Heard], object]
    mended: bool
    expected: list[object] = field(default_factory=list)

    def found(self, folder: Path) -> list[Path]:
        """Return the files of a copy that can be damaged, sorted."""
        return sorted({file for pattern in self.files for file in folder.glob(pattern) if file.is_file()})


def outcome_of(stored: Stored, copy: Path, damaged: Path) -> Outcome:
    """Read a damaged copy twice and say what came of it.

    Raises
    ------
    AssertionError
        If another number came out, or the damage stayed.
    """
    heard = Heard()
    try:
        values = stored.read(copy, heard)
    except UserError as error:
        # The message about a damaged card names the weights file.
        names = (damaged.name, damaged.with_suffix(".safetensors").name)
        if stored.mended or not any(name in str(error) for name in names):
            raise AssertionError(f"refused: {error}") from error
        return "refused"
    edited = values == EDITED and bool(heard.notices)
    assert edited or values == stored.expected[0], "another number"
    if not heard.notices:
        return "same"
    if stored.mended:
        again = Heard()
        assert stored.read(copy, again) == values, "another number the second time"
        assert not again.notices, f"the damage stayed: {again.notices[0]}"
    return "told"


def change(file: Path, others: Sequence[Path], rng: np.random.Generator) -> str:
    """Change one file at random; return the name of the change."""
    content = file.read_bytes()
    name = str(rng.choice(list(CHANGES)))
    if name == "folder":
        file.unlink()
        file.mkdir()
        return name
    changed = CHANGES[name](content, [other.read_bytes() for other in others if other != file], rng)
    if changed == content:
        name, changed = "bit", _bit(content, [], rng)
    file.write_bytes(changed)
    return name


def _bit(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    return content[:place] + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1 :]


def _cut(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _zeros(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    place, length = int(rng.integers(len(content))), int(rng.choice([1, 16, 512, 4096]))
    length = min(length, len(content) - place)
    return content[:place] + bytes(length) + content[place + length :]


def _appended(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 100)))


def _digit(content: bytes, _: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Another digit in place of one, wherever bytes read as digits."""
    places = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not places:
        return content
    place = int(rng.choice(places))
    digit = (content[place] - 48 + int(rng.integers(1, 10))) % 10 + 48
    return content[:place] + bytes([digit]) + content[place + 1 :]


def _swapped(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    return others[int(rng.integers(len(others)))] if others else content


def _nothing(_content: bytes, _: Sequence[bytes], _rng: np.random.Generator) -> bytes:
    return b""


def _unchanged(content: bytes, _: Sequence[bytes], _rng: np.random.Generator) -> bytes:
    return content


CHANGES: dict[str, Callable[[bytes, Sequence[bytes], np.random.Generator], bytes]] = {
    "bit": _bit,
    "cut off": _cut,
    "zeros": _zeros,
    "appended": _appended,
    "digit": _digit,
    "swapped": _swapped,
    "empty": _nothing,
    "folder": _unchanged,
}


def make_stored(work: Path) -> list[Stored]:
    """Make a run, its baseline and two trainings, and return what they stored."""
    scenario, recipe = work / "corruption.yaml", work / "small.yaml"
    scenario.write_text(_SCENARIO, encoding="utf-8")
    recipe.write_text(_RECIPE, encoding="utf-8")
    output, images = work / "output", work / "images"
    result = run(scenario, output=output)
    baseline = result.save_baseline(work / "baseline")
    _write_images(images)
    job = _job(recipe, images)
    finished, stopped = work / "finished", work / "stopped"
    _train(job, finished, Silent())
    with suppress(KeyboardInterrupt):
        _train(job, stopped, _Stopping())

    def rerun(folder: Path, heard: Heard) -> object:
        told = Heard()
        again = run(scenario, output=folder, progress=told)
        heard.notices += [text for text in told.notices if "of the cache" in text]
        return _frames(again.records, again.summary, _gallery(again.path))

    def gated(folder: Path, _: Heard) -> object:
        verdict = gate(result.path, folder)
        return verdict.passed, verdict.checks.to_csv()

    def run_again(folder: Path, _: Heard) -> object:
        stored = Run.load(folder)
        return _frames(stored.records, stored.summary, stored.gallery), repr(stored.info)

    def trained(folder: Path, heard: Heard) -> object:
        told = Heard()
        values = _train(job, folder, told)
        heard.notices += [text for text in told.notices if "damaged" in text or "trained again" in text]
        return values

    stored = [
        Stored("cache", output, (".cache/*/*.parquet",), rerun, mended=True),
        Stored("run folder", result.path, ("*.json", "*.csv", "*.parquet"), run_again, mended=False),
        Stored("baseline", baseline, ("*",), gated, mended=False),
        Stored("images", finished, (".images/*",), _levels(job), mended=True),
        Stored("checkpoint", stopped, ("small/checkpoint.ckpt",), trained, mended=True),
        Stored("training", finished, ("small/metrics.json", "small/*.safetensors"), trained, mended=True),
        Stored("weights", finished, ("small/small.json", "small/*.safetensors"), _loaded, mended=False),
    ]
    for each in stored:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            shutil.copytree(each.folder, copy, symlinks=True)
            each.expected.append(each.read(copy, Heard()))
    return stored


def _job(recipe: Path, images: Path) -> Job:
    loaded = load_recipe(str(recipe))
    splits = split_source(open_data(DataSpec(source=str(images)), Path()), loaded.validation, None)
    (job,) = plan_jobs(loaded, splits, Variants({}))
    return job


def _train(job: Job, output: Path, progress: Silent) -> object:
    """Train and return the bytes of the weights and what the evaluation found."""
    done = train_job(job, output, device=torch.device("cpu"), half=False, fresh=False, progress=progress)
    return done.weights.read_bytes(), repr(done.metrics["figures"])


def _levels(job: Job) -> Callable[[Path, Heard], object]:
    def read(folder: Path, heard: Heard) -> object:
        indices = [*job.splits.train, *job.splits.val]
        store = LevelStore(folder / ".images", job.splits.source, indices, (32, 32), heard)
        readable = store.readable(indices)
        return readable, store.levels(store.rows(readable)).numpy().tobytes()

    return read


def _loaded(folder: Path, heard: Heard) -> object:
    detector = load_detector(folder / "small" / "small.safetensors")
    heard.notices += [text for text in detector.assumptions if "changed" in text]
    if heard.notices:
        # An edited card is used, and the user told so.
        return EDITED
    state = {name: tensor.numpy().tobytes() for name, tensor in detector.network.state_dict().items()}
    return state, repr(detector.preprocessing)


def _gallery(folder: Path) -> pd.DataFrame:
    return Run.load(folder).gallery


def _frames(*frames: pd.DataFrame) -> list[str]:
    return [frame.to_csv(index=False) for frame in frames]


def _write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for label in ("real", "fake"):
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                levels = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8) + 64 * (label == "fake")
                Image.fromarray(levels.astype(np.uint8)).save(place / f"{number:02}.png")


def damage(stored: Stored, rng: np.random.Generator) -> tuple[str, Outcome]:
    """Change one file in a copy and read the copy; return the name of the change and what came of it.

    Raises
    ------
    AssertionError
        As :func:`outcome_of` does, with the file and the change.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / stored.folder.name
        shutil.copytree(stored.folder, copy, symlinks=True)
        files = stored.found(copy)
        file = files[int(rng.integers(len(files)))]
        alike = [other for other in files if other.suffix == file.suffix]
        name = change(file, alike, rng)
        try:
            return name, outcome_of(stored, copy, file)
        except Exception as error:
            raise AssertionError(
                f"{stored.name}, {file.relative_to(copy)}, {name}: {type(error).__name__}: {error}"
            ) from error


def damages(every: Sequence[Stored], changes: int, seed: int) -> Iterator[tuple[str, str, Outcome | str]]:
    """Make so many changes, to the kinds of files in turn; yield the kind, the change and its outcome."""
    for number in range(changes):
        stored = every[number % len(every)]
        rng = np.random.default_rng([seed, number])
        try:
            yield stored.name, *damage(stored, rng)
        except AssertionError as error:
            print(f"change {number}: {error}", file=sys.stderr)
            yield stored.name, "", "WRONG"


def main() -> None:
    """Print what came of the changes, and exit with 1 if any gave something else than it may."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, help="an empty folder for what is made; a temporary one by default"
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        found = pd.DataFrame(
            damages(make_stored(work.resolve()), arguments.changes, arguments.seed),
            columns=["files", "change", "outcome"],
        )
    print(pd.crosstab(found["files"], found["outcome"]).to_string())
    wrong = int((found["outcome"] == "WRONG").sum())
    print(f"{len(found)} changes, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
