"""``robust-aigen finetune``: its file, its choices, its checkpoints, and a training that collapses."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import REPOSITORY, write_image
from matched_filter import matched_lenet5, write_matched
from safetensors.torch import load_file, save_file
from sklearn.metrics import balanced_accuracy_score

from robustbench_aigen import load_detector
from robustbench_aigen.catalogue import shipped_files
from robustbench_aigen.cli.stopping import StoppedError
from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.data.selection import select
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.digests import read_sealed
from robustbench_aigen.engine.pace import Pace
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.decoding import decode
from robustbench_aigen.numerics.eight_bit import to_levels
from robustbench_aigen.runs.run import Run
from robustbench_aigen.scenario.scenario import Scenario
from robustbench_aigen.training.adversarial import after_report, budget, report_cost, report_size, tuning
from robustbench_aigen.training.adversarial import module as tuning_module
from robustbench_aigen.training.adversarial.averaging import RunningAverage
from robustbench_aigen.training.adversarial.collapse import CHECKS, PATIENCE, CollapseWatch
from robustbench_aigen.training.adversarial.file import READ_KEYS, load_finetuning
from robustbench_aigen.training.adversarial.module import AdversarialNetwork
from robustbench_aigen.training.adversarial.rates import Judge, Rates
from robustbench_aigen.training.adversarial.report_cost import ReportCost
from robustbench_aigen.training.adversarial.report_scenario import Depth
from robustbench_aigen.training.adversarial.tuning import Tuned, finetune
from robustbench_aigen.training.augmenting import augment
from robustbench_aigen.training.batches import stream
from robustbench_aigen.training.saving import write_json
from robustbench_aigen.training.splits import split_source

pytest.importorskip("lightning", reason="training needs the extra 'train'")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty real and sixty fake pictures; the fake ones have a faint checkerboard."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        write_image(folder / "real" / f"{number:02}.png", number, fake=False)
        write_image(folder / "fake" / f"{number:02}.png", 100 + number, fake=True)
    return folder


def file_of(folder: Path, pictures: Path, **keys: str) -> Path:
    said = {
        "version": "1", "name": "tuned", "detector": "base.safetensors", "data": f"{{source: {pictures}}}",
        "method": "{name: pgd, steps: 2}", "threat": "{eps: 1/255}", "budget": "{epochs: 2}",
        "schedule": "{batch_size: 16, learning_rate: 0.002}", "selection": "{images: 12, steps: 3}",
        "watch": "{every: 3, images: 8}", "precision": "fp32", **keys,
    }  # fmt: skip
    if said["detector"] == "base.safetensors":
        said["detector"] = f"{{path: {folder / 'base.safetensors'}, arch: lenet5}}"
    file = folder / f"{said['name']}.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in said.items()))
    return file


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_file(build_architecture("lenet5").state_dict(), tmp_path / "base.safetensors")
    return tmp_path


def test_a_fine_tuning_leaves_weights_a_card_and_a_report(untrained, pictures, cli):
    scenario = untrained / "own.yaml"
    scenario.write_text(
        f"version: 1\nname: own\ndata: {{source: {pictures}, limit: 10}}\ndetectors: [minigen/lenet5]\n"
        "pipelines: {pgd: [{attack: pgd, eps: 1/255, steps: 2}], jpeg: [{perturb: jpeg}]}\n"
    )
    file = file_of(untrained, pictures, report="{scenario: own.yaml}")
    outcome = cli("finetune", file, "--output", untrained / "out")
    assert outcome.code == 0, outcome.err
    assert "clean" in outcome.err
    assert "fake" in outcome.err  # The rates of each class, epoch by epoch.
    folder = untrained / "out" / "tuned"
    assert {"tuned.safetensors", "tuned.json", "history.csv", "checks.csv", "metrics.json", "report.md"} <= {
        entry.name for entry in folder.iterdir()
    }
    assert not (folder / "checkpoint.ckpt").exists()
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = [metrics["before"], *pd.read_csv(folder / "history.csv").to_dict("records")]
    assert metrics["epoch_kept"] == int(np.argmax([worth(row) for row in rows]))
    assert metrics["kept"]["val_balanced"] == pytest.approx(rows[metrics["epoch_kept"]]["val_balanced"])
    assert load_detector(folder / "tuned.safetensors").architecture == "lenet5"
    page = (folder / "report.md").read_text()
    for line in ("| clean |", "| pgd |", "| jpeg |", "Gradient masking", "test images had no influence"):
        assert line in page
    records = pd.read_parquet(folder / "runs" / "tuned_before_after" / "latest" / "records.parquet")
    means = records.groupby(["pipeline", "detector"])["correct"].mean()
    for pipeline in ("clean", "pgd", "jpeg"):
        before, after = means[pipeline, "base"], means[pipeline, "tuned"]
        assert (
            f"| {pipeline} | {100 * before:.1f} | {100 * after:.1f} | {100 * (after - before):+.1f} |" in page
        )
    run = json.loads((folder / "runs" / "tuned_before_after" / "latest" / "run.json").read_text())
    assert [detector["name"] for detector in run["detectors"]] == ["base", "tuned"]
    again = cli("finetune", file, "--output", untrained / "out", "--no-report")
    assert again.code == 0
    assert "fine-tuned already" in again.err
    other = cli("finetune", file, "--output", untrained / "out", "--epochs", 3, "--no-report")
    assert other.code == 2
    assert "another training" in other.err


def test_the_built_in_report_has_attacks_degradations_and_a_transfer(untrained, pictures, cli):
    file = file_of(untrained, pictures, budget="{epochs: 1}", report="{images: 8, queries: 5}")
    outcome = cli("finetune", file, "--output", untrained / "out")
    assert outcome.code == 0, outcome.err
    page = (untrained / "out" / "tuned" / "report.md").read_text()
    for name in (
        "pgd[eps=1/255]",
        "auto",
        "square",
        "transfer",
        "jpeg[severity=3]",
        "gaussian_noise[severity=5]",
    ):
        escaped = re.sub(r"([][_])", r"\\\1", name)
        assert f"| {escaped} |" in page
        assert f" {name} " in outcome.out
    assert cli("validate", untrained / "out" / "tuned" / "before_after.yaml").code == 0


OWN = (
    "version: 1\nname: own\ndata: {{source: {pictures}, split: test}}\ndetectors: [minigen/lenet5]\n"
    "pipelines: {{pgd: [{{attack: pgd, eps: 1/255, steps: 2}}], jpeg: [{{perturb: jpeg}}]}}\n"
)


class Trained(NamedTuple):
    file: Path
    output: Path
    folder: Path


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, pictures) -> Trained:
    """A training without a report, of a hundred seconds by its metrics; 12 test images."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(1)
    save_file(build_architecture("lenet5").state_dict(), folder / "base.safetensors")
    (folder / "own.yaml").write_text(OWN.format(pictures=pictures))
    file = file_of(folder, pictures, budget="{epochs: 1}", report="{scenario: own.yaml}")
    tuned = finetune(
        load_finetuning(file),
        folder / "out",
        device="cpu",
        half=False,
        fresh=False,
        progress=Silent(),
        report=False,
    )
    metrics, digests = read_sealed(tuned.folder / "metrics.json")
    write_json(tuned.folder / "metrics.json", {**metrics, "seconds": 100.0}, digests)
    return Trained(file, folder / "out", tuned.folder)


@pytest.fixture
def trained(trained_once, tmp_path, monkeypatch) -> Iterator[Trained]:
    """Eight seconds an image of the whole scenario, half a second of any other, and twenty beside them."""
    content = trained_once.file.read_text()
    output = tmp_path / "out"
    shutil.copytree(trained_once.output, output)
    monkeypatch.setattr(ReportCost, "pace", Pace(1.0, 1.0, 1.0, 1.0))
    monkeypatch.setattr(ReportCost, "per_image", lambda _, depth, *__: 8.0 if depth == Depth() else 0.5)
    monkeypatch.setattr(ReportCost, "beside", lambda *_: 20.0)
    monkeypatch.setattr(report_size, "FEWEST", 4)
    yield Trained(trained_once.file, output, output / "tuned")
    trained_once.file.write_text(content)  # Some tests write other settings into it.


def images_of(trained: Trained) -> set[str]:
    records = pd.read_parquet(trained.folder / "runs" / "tuned_before_after" / "latest" / "records.parquet")
    return {*records["sample"]}


def test_a_report_is_on_as_many_images_as_fit_into_the_training(trained, cli):
    first = cli("finetune", trained.file, "--output", trained.output)
    assert first.code == 0, first.err
    line = (
        "report on 10 of 12 test images to stay within the training's 1.7 min; set report: {images: 12} or "
        "--report-images all for all of them"
    )
    assert line in first.err
    page = (trained.folder / "report.md").read_text()
    assert line[1:] in page
    assert "±26 points" in page  # Wilson's interval of 5 of 10: 23.7 to 76.3 %.
    fitted = images_of(trained)
    assert len(fitted) == 10
    # Beside the fine-tunings, which share what was computed of the detector before.
    assert (trained.output / ".cache").is_dir()
    assert not (trained.folder / "runs" / ".cache").exists()
    again = cli("finetune", trained.file, "--output", trained.output)
    assert again.code == 0
    assert f"the report is finished: {trained.folder / 'report.md'}" in again.err
    assert "Gradient masking" in again.out
    assert len([*(trained.folder / "runs" / "tuned_before_after").glob("2*")]) == 1
    whole = cli("finetune", trained.file, "--output", trained.output, "--report-images", "ALL")
    assert whole.code == 0, whole.err
    assert "report on 12 of 12 test images\n" in whole.err
    assert len(images_of(trained)) == 12
    assert fitted < images_of(trained)
    (trained.folder / "report.md").write_text("changed")
    mended = cli("finetune", trained.file, "--output", trained.output, "--report-images", "all")
    assert mended.code == 0
    assert "report.md was changed" in mended.err
    assert (trained.folder / "report.md").read_text().startswith("# tuned")


def test_a_stopped_report_keeps_the_weights_and_goes_on_as_it_began(trained, cli, monkeypatch):
    run = after_report.run
    for stop in (KeyboardInterrupt(), StoppedError(signal.SIGTERM)):

        def stopping(*_, stop=stop, **__):
            raise stop

        monkeypatch.setattr(after_report, "run", stopping)
        stopped = cli("finetune", trained.file, "--output", trained.output)
        assert stopped.code == getattr(stop, "code", 3)
        assert f"the weights are finished: {trained.folder / 'tuned.safetensors'}" in stopped.err
        assert "the same command makes the report" in stopped.err
    assert not (trained.folder / "report.md").exists()
    monkeypatch.setattr(after_report, "run", run)
    # By now the machine is slower.
    monkeypatch.setattr(ReportCost, "per_image", lambda *_: 1000.0)
    resumed = cli("finetune", trained.file, "--output", trained.output)
    assert resumed.code == 0, resumed.err
    assert "report on 10 of 12 test images" in resumed.err
    assert len(images_of(trained)) == 10


def test_a_scenario_of_ones_own_gets_fewer_images_and_no_fewer_steps(trained, cli, monkeypatch):
    monkeypatch.setattr(ReportCost, "per_image", lambda *_: 1000.0)
    outcome = cli("finetune", trained.file, "--output", trained.output)
    assert outcome.code == 0, outcome.err
    assert "report on 8 of 12 test images, about 2.2 h longer than the training's 1.7 min" in outcome.err
    tuned = Run.load(trained.folder / "runs" / "tuned_before_after").info
    assert tuned.data.images == 8  # Four of each class.
    assert tuned.by_pipeline["pgd"].stages[0]["steps"] == 2


@pytest.mark.parametrize(
    ("report", "told", "images"),
    [
        ("{queries: 7}", "10 of 12", 10),
        ("{queries: 7, limit: 5}", "5 of 12", 5),
        ("{queries: 7, limit: 500}", "10 of 12", 10),
        ("{queries: 7, images: 11}", "11 of 12", 11),
        ("{queries: 7, images: all}", "12 of 12", None),
        ("{queries: 7, images: 400}", "12 of 12", 12),
    ],
)
def test_the_size_of_a_report_is_what_the_file_says(
    trained, pictures, cli, monkeypatch, report, told, images
):
    seen: list[Scenario] = []

    def stopping(loaded: Scenario, **_) -> None:
        seen.append(loaded)
        raise KeyboardInterrupt

    monkeypatch.setattr(after_report, "run", stopping)
    file = file_of(trained.file.parent, pictures, budget="{epochs: 1}", report=report)
    outcome = cli("finetune", file, "--output", trained.output)
    assert f"report on {told} test images" in outcome.err
    (loaded,) = seen
    assert loaded.data.limit in (images, 12)
    assert loaded.pipelines["auto"][0]["queries"] == 7
    assert loaded.pipelines["pgd"][0]["steps"] == 20


def test_a_short_training_shortens_the_scenario(trained, pictures, cli, monkeypatch):
    monkeypatch.setattr(report_size, "FEWEST", 11)
    file = file_of(trained.file.parent, pictures, budget="{epochs: 1}")
    monkeypatch.setattr(after_report, "run", raising(KeyboardInterrupt()))
    outcome = cli("finetune", file, "--output", trained.output)
    assert "report on 12 of 12 test images (250 of 1000 queries of Square) to stay within" in outcome.err
    assert "for the whole scenario" in outcome.err
    scenario = yaml.safe_load((trained.folder / "before_after.yaml").read_text())
    assert scenario["pipelines"]["auto"][0]["queries"] == scenario["pipelines"]["square"][0]["steps"] == 250
    assert cli("validate", trained.folder / "before_after.yaml").code == 0


def raising(error: BaseException):
    def raise_it(*_, **__):
        raise error

    return raise_it


def test_a_pace_is_measured_on_fewer_images_where_memory_is_short(trained_once, monkeypatch):
    loaded = load_finetuning(trained_once.file)
    source = FolderSource(Path(str(loaded.data.source)))
    detector = load_detector(trained_once.file.parent / "base.safetensors", arch="lenet5")
    tried: list[int] = []

    def measured(_detector, _stages, images, *_) -> Pace:
        tried.append(len(images.levels))
        if len(images.levels) > 5:
            raise torch.OutOfMemoryError
        return Pace(1.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr(report_cost, "measured_pace", measured)
    cost = ReportCost(loaded, detector, source, range(20), torch.device("cpu"), 0.0, 0.0)
    assert cost.pace.verdict == 1.0
    assert tried == [20, 10, 5]


@pytest.mark.parametrize("images", ["0", "-3", "1.5", "some", ""])
def test_a_wrong_number_of_report_images_is_refused(trained, cli, images):
    outcome = cli("finetune", trained.file, "--output", trained.output, f"--report-images={images}")
    assert outcome.code == 2
    assert f"--report-images takes a number of images or all, not '{images}'" in outcome.err
    both = cli("finetune", trained.file, "--no-report", "--report-images", 5)
    assert both.code == 2
    assert "exclude each other" in both.err


def test_what_a_fine_tuning_takes_is_said_before_it_trains(untrained, pictures, monkeypatch):
    """A second a step and two a validation; ten for an image of the report, on all of the time of the training."""
    monkeypatch.setattr(budget, "_seconds_a_step", lambda *_: 1.0)
    monkeypatch.setattr(budget, "_seconds_of_judging", lambda *_: 2.0)
    monkeypatch.setattr(ReportCost, "pace", Pace(1.0, 1.0, 1.0, 1.0))
    monkeypatch.setattr(ReportCost, "per_image", lambda *_: 1.0)
    monkeypatch.setattr(ReportCost, "beside", lambda *_: 6.0)
    monkeypatch.setattr(report_size, "FEWEST", 4)
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: 7.0)
    file = file_of(untrained, pictures, budget="{epochs: 2}", watch="{every: 2, images: 1000}")
    for report, told in (
        (True, "report about 18 s on about 12 of 12 test images: about 51 s in all"),
        (False, ""),
    ):
        said: list[str] = []

        class Listening(Silent):
            def notice(self, text: str) -> None:
                said.append(text)  # noqa: B023

        tuned = finetune(
            load_finetuning(file), untrained / str(report), device="cpu", half=False, fresh=False,
            progress=Listening(), report=report, began=3.0,
        )  # fmt: skip
        (forecast,) = [line for line in said if "so far" in line]
        steps = tuned.metrics["train_images"] // 16
        training = 2 * (1.1 * steps + 2 * (1 + steps // 2))  # A tenth for the optimiser.
        assert f"4 s so far, training about {training:.0f} s" in forecast
        assert told in forecast
        before = [number for number, line in enumerate(said) if line.startswith("tuned: epoch 1/")]
        assert said.index(forecast) < before[0]


def test_a_source_without_test_images_is_refused_before_the_training(untrained, tmp_path, cli):
    for number in range(24):
        for split in ("train", "val"):
            for label in ("real", "fake"):
                file = tmp_path / "split" / split / label / f"{number}.png"
                write_image(file, number, fake=label == "fake")
    file = file_of(untrained, tmp_path / "split")
    outcome = cli("finetune", file, "--output", untrained / "out")
    assert outcome.code == 2
    assert "no split 'test'" in outcome.err
    assert "--no-report" in outcome.err
    assert not (untrained / "out" / "tuned").exists()


KILLER = """
import os, signal, sys
from pathlib import Path
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.training import fitting
from robustbench_aigen.training.adversarial.file import READ_KEYS, load_finetuning
from robustbench_aigen.training.adversarial.tuning import finetune

class Killer(Silent):
    batches = 0

    def advance(self, images):
        if images == 16:
            self.batches += 1
        if self.batches == 10:
            os.kill(os.getpid(), signal.SIGKILL)

fitting._SAVE_SECONDS = 0
finetune(load_finetuning(sys.argv[1]), Path(sys.argv[2]), device="cpu", half=False, fresh=False, progress=Killer())
"""


def test_a_killed_fine_tuning_goes_on_to_the_same_weights(untrained, pictures):
    file = file_of(
        untrained, pictures, budget="{epochs: 3}", average="0.9", augmentation="[flip_horizontal, gaussian_noise]",
        schedule="{batch_size: 16, learning_rate: 0.002, eps_warmup: 0.5}",
    )  # fmt: skip
    code = subprocess.run(
        [sys.executable, "-c", KILLER, file, untrained / "killed"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert code.returncode == -9, code.stderr
    stopped = untrained / "killed" / "tuned"
    assert {entry.name for entry in stopped.iterdir()} == {"checkpoint.ckpt"}
    told: list[str] = []

    class Listening(Silent):
        def notice(self, text: str) -> None:
            told.append(text)

    loaded = load_finetuning(file)
    resumed = finetune(
        loaded, untrained / "killed", device="cpu", half=False, fresh=False, progress=Listening()
    )
    assert any("continues after" in line for line in told)
    undisturbed = finetune(
        loaded, untrained / "whole", device="cpu", half=False, fresh=False, progress=Silent()
    )
    ours, theirs = load_file(resumed.weights), load_file(undisturbed.weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for table in ("history.csv", "checks.csv"):
        assert (resumed.folder / table).read_text() == (undisturbed.folder / table).read_text()


def test_a_balanced_epoch_has_as_many_images_of_each_class(untrained, tmp_path, monkeypatch):
    for place, count in {
        "train/real": 8,
        "train/fake": 24,
        "val/real": 4,
        "val/fake": 4,
        "test/real": 4,
        "test/fake": 4,
    }.items():
        folder = tmp_path / "uneven" / place
        folder.mkdir(parents=True)
        for number in range(count):
            write_image(folder / f"{number}.png", number, fake=place.endswith("fake"))
    seen: list[torch.Tensor] = []
    objective = AdversarialNetwork.objective

    def noted(self, pixels, labels, place):
        seen.append(labels.clone())
        return objective(self, pixels, labels, place)

    monkeypatch.setattr(AdversarialNetwork, "objective", noted)
    epochs = {}
    for balance in ("true", "false"):
        seen.clear()
        file = file_of(
            untrained, tmp_path / "uneven", name=f"balance_{balance}", balance=balance, budget="{epochs: 1}"
        )
        finetune(
            load_finetuning(file), tmp_path / "out", device="cpu", half=False, fresh=False, progress=Silent()
        )
        epochs[balance] = torch.cat(seen).tolist()
    assert sorted(epochs["true"]) == [0] * 8 + [1] * 8
    assert len(epochs["false"]) == 32


def test_nothing_of_the_test_split_is_read(untrained, pictures, monkeypatch):
    file = file_of(untrained, pictures)
    source = FolderSource(pictures)
    test = {source.samples[index].id for index in select(source, "test", None).indices}
    read: list[str] = []
    decode = FolderSource.encoded

    def noted(self, index):
        read.append(self.samples[index].id)
        return decode(self, index)

    # Splits of a source without any are made from hashes of all its images: they are known by now.
    split = pictures.parent / "split"
    for sample, picture in zip(source.samples, source._files, strict=True):
        part = "test" if sample.id in test else "train"
        target = split / part / Path(sample.id)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
    monkeypatch.setattr(FolderSource, "encoded", noted)
    file = file_of(untrained, split)
    tuned = finetune(
        load_finetuning(file), untrained / "out", device="cpu", half=False, fresh=False, progress=Silent()
    )
    assert tuned.metrics["selection_images"] > 0
    assert read
    assert not any(name.startswith("test/") for name in read)


def worth(row: dict[str, float]) -> float:
    """What an epoch is chosen by, from the columns of a history."""
    if row["val_robust_balanced"] > 0.5:
        return 1 + row["val_robust_balanced"] + 1e-4 * row["val_balanced"]
    return (row["val_balanced"] + min(row["val_robust_tpr"], row["val_robust_tnr"])) / 2


def tuned_as_judged(monkeypatch, file: Path, output: Path, said: list[Rates]) -> tuple[Tuned, list[dict]]:
    """A training whose validations find these rates, the first before it; and its weights at each of them."""
    given, weights = iter(said), []
    monkeypatch.setattr(Judge, "rates", lambda *_: next(given))
    keep = AdversarialNetwork._keep_if_best

    def noted(self, epoch: int, value: float) -> None:
        weights.append({name: each.clone() for name, each in self.network.state_dict().items()})
        keep(self, epoch, value)

    monkeypatch.setattr(AdversarialNetwork, "_keep_if_best", noted)
    tuned = finetune(load_finetuning(file), output, device="cpu", half=False, fresh=False, progress=Silent())
    assert next(given, None) is None
    return tuned, weights


UNDEFENDED, ONE_CLASS = Rates(0.95, 0.95, 0.0, 0.0), Rates(1.0, 0.0, 1.0, 0.0)
GOOD, BETTER = Rates(0.95, 0.95, 0.6, 0.5), Rates(0.8, 0.8, 0.7, 0.6)


@pytest.mark.parametrize("average", ["0", "0.5"])
@pytest.mark.parametrize(("said", "best"), [
    ([UNDEFENDED, GOOD, ONE_CLASS, BETTER, GOOD], 3), ([UNDEFENDED, ONE_CLASS, ONE_CLASS], 0),
    ([ONE_CLASS, UNDEFENDED, UNDEFENDED], 1), ([UNDEFENDED, BETTER, BETTER], 1),
])  # fmt: skip
def test_the_epoch_with_the_highest_robust_balanced_accuracy_is_kept(
    untrained, pictures, monkeypatch, said, best, average
):
    file = file_of(
        untrained, pictures, budget=f"{{epochs: {len(said) - 1}}}", average=average, watch="{every: 1000}"
    )
    tuned, weights = tuned_as_judged(monkeypatch, file, untrained / "out", said)
    assert tuned.metrics["epoch_kept"] == best
    assert tuned.metrics["kept"].items() >= said[best].as_row().items()
    kept = load_file(tuned.weights)
    for number, those in enumerate(weights):
        assert all(torch.equal(kept[name], those[name]) for name in those) == (number == best)


def test_without_an_adversary_the_epoch_that_is_best_on_degraded_images_is_kept(pictures, tmp_path):
    """What is degraded is degraded as in training, and counted by the plain detector."""
    write_matched(tmp_path)
    file = file_of(
        tmp_path, pictures, method="standard", augmentation="[blur_jpeg, flip_vertical]",
        selection="{images: 1000, steps: 1}", watch="{every: 1000}",
    )  # fmt: skip
    loaded = load_finetuning(file)
    tuned = finetune(loaded, tmp_path / "out", device="cpu", half=False, fresh=False, progress=Silent())
    source = FolderSource(pictures)
    chosen = split_source(source, loaded.data.validation, None).val
    levels = torch.stack([decode(source.encoded(index)) for index in chosen])
    labels = [source.samples[index].label for index in chosen]
    generator = torch.Generator().manual_seed(stream(loaded.seed, "degraded"))
    changed = to_levels(augment(levels / 255, loaded.augmentation, generator))
    with torch.no_grad():
        answers = [matched_lenet5()(each / 255).argmax(dim=1) for each in (levels, changed)]
    plain, degraded = (balanced_accuracy_score(labels, each) for each in answers)
    before = tuned.metrics["before"]
    assert (before["val_balanced"], before["val_degraded"]) == pytest.approx((plain, degraded))
    assert plain == 1 > degraded
    rows = [before, *pd.read_csv(tuned.folder / "history.csv").to_dict("records")]
    worths = [row["val_degraded"] + 1e-4 * row["val_balanced"] for row in rows]
    assert tuned.metrics["epoch_kept"] == int(np.argmax(worths))


def test_a_run_made_to_collapse_is_caught_stopped_and_explained(pictures, tmp_path, cli, monkeypatch):
    """Each step leaves a detector that calls everything fake."""
    base = write_matched(tmp_path)
    step = AdversarialNetwork.optimizer_step

    def collapsing(self, *arguments, **options) -> None:
        step(self, *arguments, **options)
        with torch.no_grad():
            self.network.head[-1].weight.zero_()
            self.network.head[-1].bias.copy_(torch.tensor([-50.0, 50.0]))

    monkeypatch.setattr(AdversarialNetwork, "optimizer_step", collapsing)
    file = file_of(tmp_path, pictures, budget="{epochs: 200}")
    outcome = cli("finetune", file, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "collapsed" in outcome.err
    assert "eps_warmup" in outcome.err
    assert "a smaller eps" in outcome.err
    folder = tmp_path / "out" / "tuned"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert pd.read_csv(folder / "checks.csv")["step"].tolist() == [3, 6, 9, 12, 15]
    assert (metrics["collapse"]["kind"], metrics["collapse"]["step"]) == ("one_class", 15)
    assert metrics["epochs_run"] < 15
    # A level changes the matched filter by a sixth of a checkerboard at most: nothing comes near the boundary.
    assert metrics["before"]["val_balanced"] == metrics["before"]["val_robust_balanced"] == 1
    assert metrics["kept"] == metrics["before"]
    kept, came = load_file(folder / "tuned.safetensors"), load_file(base)
    assert all(torch.equal(kept[name], came[name]) for name in came)
    assert load_detector(folder / "tuned.safetensors").name == "tuned"
    assert not (folder / "report.md").exists()
    # The same command says it again, and trains nothing.
    monkeypatch.setattr(AdversarialNetwork, "optimizer_step", lambda *_, **__: pytest.fail("trained again"))
    again = cli("finetune", file, "--output", tmp_path / "out")
    assert again.code == 2
    assert "collapsed" in again.err


def test_no_detector_of_one_class_is_chosen_over_an_undefended_one():
    undefended, one_class = Rates(0.95, 0.95, 0.0, 0.0), Rates(1.0, 0.0, 1.0, 0.0)
    assert one_class.robust_balanced > undefended.robust_balanced
    assert one_class.value < undefended.value < Rates(0.8, 0.8, 0.6, 0.5).value
    one_sided = Rates(0.9, 0.6, 0.8, 0.1)
    assert one_sided.value < undefended.value


def test_below_chance_a_detector_that_withstands_some_attacks_is_chosen_over_an_undefended_one():
    undefended, withstands_some = Rates(0.94, 0.96, 0.0, 0.0), Rates(0.80, 0.93, 0.43, 0.41)
    assert undefended.value < withstands_some.value < Rates(0.6, 0.6, 0.51, 0.51).value
    # Not for a robustness that is noise, at the price of clean accuracy.
    assert Rates(0.85, 0.90, 0.01, 0.02).value < undefended.value


def test_without_an_adversary_the_accuracy_on_degraded_images_decides():
    undefended = Rates(0.95, 0.95, 0.0, 0.0, degraded=0.6)
    hardened = Rates(0.90, 0.92, 0.0, 0.0, degraded=0.85)
    assert undefended.value < hardened.value < Rates(0.93, 0.93, 0.0, 0.0, degraded=0.85).value
    assert "degraded 85.0" in str(hardened)


def rates(tpr: float, tnr: float, robust: float = 0.3, searched: float = float("nan")) -> Rates:
    return Rates(tpr, tnr, robust, robust, searched)


@pytest.mark.parametrize(("began", "seen", "kind"), [
    (0.95, [rates(1.0, 0.01)] * CHECKS, "one_class"),
    (0.50, [rates(0.0, 1.0)] * CHECKS, "one_class"),
    (0.95, [rates(0.7, 0.4)] * CHECKS, "guessing"),
    (0.95, [rates(0.95, 0.95, 0.6), *[rates(0.95, 0.95, 0.1)] * CHECKS], "catastrophic_overfitting"),
    (0.95, [rates(0.8, 0.7, 0.06, 0.8)] * CHECKS, "catastrophic_overfitting"),
    (0.50, [rates(0.6, 0.5, 0.06, 0.8)] * CHECKS, "catastrophic_overfitting"),
])  # fmt: skip
def test_collapses_are_told_apart(began, seen, kind):
    watch = CollapseWatch(began)
    found = [watch.see(step, check) for step, check in enumerate(seen)]
    assert found[:-1] == [None] * (len(seen) - 1)
    assert found[-1].kind == kind
    assert "try" in found[-1].advice


def test_what_knew_nothing_before_is_given_time_to_learn():
    watch = CollapseWatch(0.5)
    patience = CHECKS * PATIENCE
    found = [watch.see(step, rates(0.6, 0.5, 0.1)) for step in range(patience)]
    assert found[:-1] == [None] * (patience - 1)
    assert found[-1].kind == "guessing"
    assert "was 50 and is 55 %" in found[-1].evidence


def test_what_passes_is_no_collapse():
    watch = CollapseWatch(0.95)
    passing = [rates(1.0, 0.0)] * (CHECKS - 1)
    assert [watch.see(0, check) for check in [*passing, rates(0.8, 0.8), *passing]] == [None] * (
        2 * CHECKS - 1
    )


def test_a_running_average_is_the_recursion_and_swaps_back():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = RunningAverage(network, 0.6)
    expected = network[0].weight.detach().double()
    for step in range(1, 8):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(2, 3))
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach().double()
        average.update(step)
    last = network[0].weight.detach().clone()
    average.swap()
    assert torch.allclose(network[0].weight.double(), expected, atol=1e-6)
    average.swap()
    assert torch.equal(network[0].weight, last)


MISTAKES = [
    ({"method": "pdg"}, "must be 'pgd', 'trades', 'fast' or 'standard', not 'pdg'"),
    ({"method": "{name: trades, clean_share: 0.5}"}, "the method 'trades' has no 'clean_share'"),
    ({"method": "{name: pgd, stps: 3}"}, "did you mean 'steps'"),
    ({"threat": "{eps: 4}"}, "in pixel units"),
    ({"threat": "{}"}, "the key 'eps' is missing"),
    ({"budget": "{epochs: 3, minutes: 4}"}, "either epochs or minutes"),
    ({"budget": "{}"}, "either epochs or minutes"),
    ({"augmentation": "[blurjpeg]"}, "did you mean 'blur_jpeg'"),
    ({"shedule": "{}"}, "did you mean 'schedule'"),
    ({"detector": "minigen/lenet"}, "did you mean 'minigen/lenet5'"),
    ({"data": "{source: nowhere}"}, "nowhere"),
    ({"report": "{images: 5, limit: 5}"}, "either images"),
    ({"report": "{images: 0}"}, "images"),
    ({"report": "{images: some}"}, "images"),
    ({"report": "{scenario: pgd_esp4}"}, "did you mean 'pgd_eps4'"),
]


@pytest.mark.parametrize(("keys", "told"), MISTAKES)
def test_a_mistake_is_told_with_file_line_and_what_to_write(untrained, pictures, cli, keys, told):
    file = file_of(untrained, pictures, **keys)
    for command in ("finetune", "validate"):
        outcome = cli(command, file, *(["--output", untrained / "out"] if command == "finetune" else []))
        assert outcome.code == 2
        assert told in outcome.err
        assert f"{file}:" in outcome.err
        assert outcome.err.count("\n") <= 3
    assert not (untrained / "out" / "tuned").exists()


def test_a_scenario_is_no_fine_tuning_file_and_the_other_way_round(untrained, pictures, cli):
    file = file_of(untrained, pictures)
    wrong = cli("run", file)
    assert wrong.code == 2
    assert f"robust-aigen finetune {file}" in wrong.err
    wrong = cli("finetune", REPOSITORY / "scenarios" / "pgd_eps4.yaml")
    assert wrong.code == 2
    assert "robust-aigen run" in wrong.err
    for name, command in (("pgd_eps4", "finetune"), ("finetune_pgd_eps2", "run")):
        wrong = cli(command, name)
        assert wrong.code == 2
        assert f"robust-aigen {'run' if command == 'finetune' else 'finetune'} {name}" in wrong.err
    fine = cli("validate", file)
    assert fine.code == 0
    assert "training images" in fine.out
    assert "on 4800 training images" in cli("validate", "finetune_fast_eps4").out


def test_shipped_scenarios_and_fine_tunings_are_told_apart(cli):
    scenarios, finetunings = shipped_files("scenarios"), shipped_files("finetunings")
    assert not shipped_files("protocols").keys() & {*scenarios, *finetunings}
    assert not scenarios.keys() & finetunings.keys()
    assert {*scenarios.values(), *finetunings.values()} == {*(REPOSITORY / "scenarios").glob("*.yaml")}
    listed = cli("list", "finetunings").out
    for name, file in finetunings.items():
        assert load_finetuning(file).name == name
        assert name in listed
        assert name not in cli("list", "scenarios").out


def test_an_ensemble_and_a_wrapped_detector_are_refused(untrained, pictures, cli):
    for said in ("{id: minigen/lenet5, wrap: trim}", "{ensemble: [minigen/lenet5, minigen/cifake_cnn]}"):
        for command in ("validate", "finetune"):
            outcome = cli(command, file_of(untrained, pictures, detector=said))
            assert outcome.code == 2
            assert "one detector is fine-tuned at a time" in outcome.err


def test_a_detector_without_weights_or_gradients_is_refused(untrained, pictures, cli, monkeypatch):
    file = file_of(untrained, pictures, detector="{path: base.safetensors, arch: lenet5}")
    network = build_architecture("lenet5")
    monkeypatch.setattr(type(network), "forward", lambda self, x: x.detach().flatten(1)[:, :2])
    outcome = cli("finetune", file, "--output", untrained / "out")
    assert outcome.code == 2
    assert "no gradient" in outcome.err


def test_weights_on_another_detector_name_it_as_their_base(untrained, pictures):
    """Where no architecture is named, the weights are filled into what they were made from."""
    finished = load_detector(untrained / "base.safetensors", arch="lenet5")
    shifted = {name: value + 1 for name, value in finished.network.state_dict().items()}
    save_file(shifted, untrained / "tuned.safetensors")
    card = {"base": {"path": "base.safetensors", "arch": "lenet5", "fake_index": 0}}
    (untrained / "tuned.json").write_text(json.dumps(card))
    tuned = load_detector(untrained / "tuned.safetensors")
    assert tuned.preprocessing.fake_index == 0
    assert tuned.name == "tuned"
    assert tuned.weights_sha256 != finished.weights_sha256
    assert all(np.array_equal(value, shifted[name]) for name, value in tuned.network.state_dict().items())
    (untrained / "tuned.json").write_text(json.dumps({"base": "minigen/cifake_cnn"}))
    with pytest.raises(UserError, match="do not fit"):
        load_detector(untrained / "tuned.safetensors")


def test_minutes_become_whole_epochs_once(untrained, pictures, monkeypatch):
    """Measured at a second a step, and kept for a training that is stopped and goes on."""
    measured: list[float] = []
    monkeypatch.setattr(budget, "_seconds_a_step", lambda *_: measured.append(1.0) or 1.0)
    monkeypatch.setattr(budget, "_seconds_of_judging", lambda *_: 0.0)
    monkeypatch.setattr(tuning_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    loaded = load_finetuning(file_of(untrained, pictures, budget="{minutes: 0.5}", watch="{every: 1000}"))

    class Interrupting(Silent):
        def advance(self, images: int) -> None:
            if images == 16:
                raise KeyboardInterrupt

    given = {"device": "cpu", "half": False, "fresh": False}
    with pytest.raises(KeyboardInterrupt):
        finetune(loaded, untrained / "out", progress=Interrupting(), **given)
    tuned = finetune(loaded, untrained / "out", progress=Silent(), **given)
    assert measured == [1.0]
    steps_an_epoch = tuned.metrics["train_images"] // 16
    assert tuned.metrics["epochs"] == tuned.metrics["epochs_run"] == int(30 / (1.1 * steps_an_epoch)) > 1


def test_a_training_stops_where_its_minutes_are_over(untrained, pictures, monkeypatch):
    """An hour passes in the second step, by the clock that the deadline reads."""
    now = 0.0
    monkeypatch.setattr(tuning_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(budget, "_seconds_a_step", lambda *_: 1.0)
    steps: list[int] = []

    class AnHourPasses(Silent):
        def advance(self, images: int) -> None:
            nonlocal now
            if images == 16:
                steps.append(images)
                now = 3600.0 if len(steps) > 1 else 0.0

    tuned = finetune(
        load_finetuning(file_of(untrained, pictures, budget="{minutes: 30}")), untrained / "out", device="cpu",
        half=False, fresh=False, progress=AnHourPasses(),
    )  # fmt: skip
    assert len(steps) == 2
    assert tuned.metrics["epochs_run"] == 1 < tuned.metrics["epochs"]


def test_the_examples_of_the_document_run(tmp_path, cli, monkeypatch):
    text = (REPOSITORY / "docs" / "FINETUNE.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for kind, block in blocks:
        if kind == "yaml":
            file = tmp_path / f"{yaml.safe_load(block)['name']}.yaml"
            file.write_text(block)
            assert cli("validate", file).code == 0
        elif kind == "console":
            for line in block.splitlines():
                assert cli(*shlex.split(line[2:])[1:]).code == 0
    assert {path.stem for path in tmp_path.glob("*.yaml")} == {"my_finetuning", "trim"}


def test_the_document_names_what_the_methods_read():
    text = (REPOSITORY / "docs" / "FINETUNE.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", text, re.MULTILINE))
    for method, keys in READ_KEYS.items():
        assert set(re.findall(r"`(\w+)`", rows[method])) == keys
