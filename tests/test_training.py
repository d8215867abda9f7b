"""Training from the command line: what it leaves, what it refuses, and that a killed one loses nothing."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file
from training_data import write_recipe, write_splits

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.evaluation import run
from robustbench_aigen.scenario.scenario import DetectorSpec, load_scenario
from robustbench_aigen.training import fitting
from robustbench_aigen.training.module import TrainedNetwork

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def data(tmp_path):
    return write_splits(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path)


def trained(cli, recipe, data, output, *options):
    outcome = cli("train", recipe, "--data", data, "--output", output, "--device", "cpu", *options)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_trained_detector_is_run_as_it_was_evaluated(tmp_path, recipe, data, cli, drawn):
    trained(cli, recipe, data, tmp_path / "out", "--set", "learning_rate=0.01")
    folder = tmp_path / "out" / "tiny"
    assert {file.name for file in folder.iterdir()} == {
        "tiny.safetensors", "tiny.json", "metrics.json", "history.csv", "roc.csv", "figures",
    }  # fmt: skip
    assert {file.name for file in (folder / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("learning_curves", "roc", "confusion_matrix") for suffix in ("png", "pdf")
    }  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    loaded = load_scenario("jpeg_sweep")
    result = run(
        loaded.replace(
            data=loaded.data.model_copy(update={"source": str(data)}),
            detectors=[DetectorSpec(path=str(folder / "tiny.safetensors"))],
            pipelines={},
        ),
        output=tmp_path / "runs",
    )
    clean = result.summary.iloc[0]
    said = metrics["figures"]["test"]["at_half"]
    assert (clean["accuracy"], clean["tpr"], clean["n"]) == pytest.approx(
        (said["accuracy"], said["tpr"], said["n"]), abs=1e-6
    )
    assert clean["auroc"] == pytest.approx(said["auroc"], abs=1e-6)


def test_parameters_and_operations_are_counted(tmp_path, recipe, data, cli):
    trained(cli, recipe, data, tmp_path / "out", "--epochs", 1)
    cost = json.loads((tmp_path / "out" / "tiny" / "metrics.json").read_text())["cost"]
    # Convolutions 6×3×5×5 and 16×6×5×5 with biases, batch norms of 6 and 16, dense 400-120-84-2.
    assert cost["parameters"] == 456 + 12 + 2416 + 32 + 48120 + 10164 + 170
    multiplications = 28**2 * 6 * 75 + 10**2 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 2
    assert cost["flops_per_image"] == 2 * multiplications
    assert cost["steps"] == 40 // 8
    assert cost["ms_per_step"] > 0


def test_two_trainings_in_one_folder_are_one_too_many(tmp_path, recipe, data, cli):
    folder = tmp_path / "out" / "tiny"
    folder.mkdir(parents=True)
    with FileLock(tmp_path / "out" / ".tiny.lock"):
        outcome = cli("train", recipe, "--data", data, "--output", tmp_path / "out", "--epochs", 1)
    assert outcome.code == 2
    assert "tiny: another training is running in this folder" in outcome.err
    trained(cli, recipe, data, tmp_path / "out", "--epochs", 1)


def test_more_folds_than_images_are_refused(tmp_path, recipe, data, cli):
    outcome = cli("train", recipe, "--data", data, "--output", tmp_path / "out", "--folds", 5000)
    assert outcome.code == 2
    assert "cannot be divided into 5000 folds" in outcome.err


KILLED = """
import os, signal, sys
import robustbench_aigen.training.fitting as fitting
from robustbench_aigen.cli import app
fitting._SAVE_SECONDS = 0.0
step, kill_at = fitting.TrainedNetwork.training_step, int(sys.argv.pop(1))
def training_step(self, batch, number):
    if self.trainer.global_step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, number)
fitting.TrainedNetwork.training_step = training_step
sys.argv[0] = "robust-aigen"
app.main()
"""


@pytest.mark.parametrize("kill_at", [7, 10], ids=["inside an epoch", "between epochs"])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, recipe, data, cli, kill_at):
    options = ["--set", "arch=genimage_cnn", "--set", "schedule=one_cycle"]  # With dropout.
    trained(cli, recipe, data, tmp_path / "whole", *options)
    arguments = [
        "train",
        recipe,
        "--data",
        data,
        "--output",
        tmp_path / "killed",
        "--device",
        "cpu",
        *options,
    ]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(kill_at), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "killed" / "tiny"
    assert not (folder / "tiny.safetensors").exists()
    outcome = trained(cli, recipe, data, tmp_path / "killed", *options)
    assert f"continues after {kill_at} steps" in outcome.err
    whole, resumed = (
        load_file(tmp_path / name / "tiny" / "tiny.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    histories = [pd.read_csv(tmp_path / name / "tiny" / "history.csv") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*histories)


def test_a_finished_training_is_not_done_again_and_another_is_refused(tmp_path, recipe, data, cli):
    first = trained(cli, recipe, data, tmp_path / "out", "--epochs", 1)
    before = (tmp_path / "out/tiny/tiny.safetensors").stat().st_mtime_ns
    again = trained(cli, recipe, data, tmp_path / "out", "--epochs", 1)
    assert "trained already" in again.err
    assert again.out == first.out
    assert (tmp_path / "out/tiny/tiny.safetensors").stat().st_mtime_ns == before
    other = cli("train", recipe, "--data", data, "--output", tmp_path / "out", "--epochs", 1, "--seed", 7)
    assert other.code == 2
    assert "another training" in other.err
    trained(cli, recipe, data, tmp_path / "out", "--epochs", 1, "--seed", 7, "--fresh")
    assert json.loads((tmp_path / "out/tiny/tiny.json").read_text())["training"]["seed"] == 7


def test_half_precision_weights_are_half_as_large(tmp_path, recipe, data, cli):
    for name, options in (("single", ()), ("half", ("--half",))):
        trained(cli, recipe, data, tmp_path / name, "--epochs", 1, *options)
    files = [tmp_path / name / "tiny" / "tiny.safetensors" for name in ("single", "half")]
    assert files[1].stat().st_size < 0.55 * files[0].stat().st_size
    pixels = torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        single, half = (load_detector(file)(pixels) for file in files)
    torch.testing.assert_close(single, half, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("losses", "patience", "kept"), [([3.0, 2.0, 1.0, 1.5], 1, 3), ([1.0, 1.0, 2.0], 2, 1)]
)
def test_early_stopping_keeps_the_best_epoch(
    tmp_path, recipe, data, cli, monkeypatch, losses, patience, kept
):
    """Told what the validation loss of each epoch is."""
    figures, close, weights = TrainedNetwork._figures, TrainedNetwork.close_epoch, []

    def scripted(self, part: str) -> tuple[float, float]:
        return figures(self, part) if part == "train" else (losses[len(self.history)], 0.5)

    def noted(self) -> None:
        weights.append({name: each.clone() for name, each in self.network.state_dict().items()})
        close(self)

    monkeypatch.setattr(TrainedNetwork, "_figures", scripted)
    monkeypatch.setattr(TrainedNetwork, "close_epoch", noted)
    trained(
        cli, recipe, data, tmp_path / "out", "--set", f"early_stopping={patience}", "--set", "select=loss",
        "--epochs", 30,
    )  # fmt: skip
    history = pd.read_csv(tmp_path / "out/tiny/history.csv")
    assert history["val_loss"].tolist() == losses
    card = json.loads((tmp_path / "out/tiny/tiny.json").read_text())["training"]
    assert (card["epochs_run"], card["epoch_kept"]) == (len(losses), kept)
    saved = load_file(tmp_path / "out/tiny/tiny.safetensors")
    same = [all(torch.equal(saved[name], each[name]) for name in saved) for each in weights]
    assert same == [number == kept for number in range(1, len(losses) + 1)]


@pytest.mark.parametrize(("bias", "called", "rates"), [(50.0, "fake", (1, 0)), (-50.0, "real", (0, 1))])
def test_a_detector_of_one_class_is_called_that(
    tmp_path, recipe, data, cli, monkeypatch, bias, called, rates
):
    network = build_architecture("lenet5")
    with torch.no_grad():
        network.head[-1].weight.zero_()
        network.head[-1].bias.copy_(torch.tensor([-bias, bias]))
    monkeypatch.setattr(fitting, "build_architecture", lambda *_, **__: network)
    outcome = trained(cli, recipe, data, tmp_path / "out", "--epochs", 1, "--set", "learning_rate=1e-9")
    metrics = json.loads((tmp_path / "out/tiny/metrics.json").read_text())["figures"]["test"]["at_half"]
    assert (metrics["tpr"], metrics["tnr"]) == rates
    assert metrics["accuracy"] == 0.5
    assert metrics["answers_one_class"]
    assert f"ONE CLASS: at threshold 0.5 tiny calls nearly every test image {called}" in outcome.out


def test_a_support_vector_machine_is_fitted_and_searched(tmp_path, data, cli):
    # Gradients of a checkerboard of single pixels cancel; stripes are what a histogram of gradients sees.
    for file in data.rglob("fake/*.png"):
        levels = np.asarray(Image.open(file)).astype(int) + 40 * (np.arange(32) // 2 % 2)[:, None, None]
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(file)
    outcome = trained(
        cli, "hog_svm", data, tmp_path / "out", "--folds", 3, "--set", "arch_options={input_size: 32}",
        "--set", "input_size=32",
    )  # fmt: skip
    assert "3-fold cross-validation" in outcome.err
    folder = tmp_path / "out" / "hog_svm"
    search = pd.read_csv(folder / "grid_search.csv")
    card = json.loads((folder / "hog_svm.json").read_text())
    assert card["training"]["c"] == search.loc[search["accuracy"].idxmax(), "c"]
    detector = load_detector(folder / "hog_svm.safetensors")
    assert detector.preprocessing.input_size == (32, 32)
    assert card["clean_test"]["accuracy"] > 0.9


def test_a_network_is_not_fitted_as_a_support_vector_machine(tmp_path, recipe, data, cli):
    outcome = cli(
        "train", recipe, "--data", data, "--output", tmp_path / "out", "--set", "svm={grid: {c: [1]}}"
    )
    assert outcome.code == 2
    assert "is neither a support vector machine nor a linear probe" in outcome.err


def test_divergence_is_said(tmp_path, recipe, data, cli, monkeypatch):
    """The first step takes every weight out of the numbers."""
    loss_of = TrainedNetwork.objective

    def diverging(self, *arguments) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = loss_of(self, *arguments)
        return loss * torch.inf, logits

    monkeypatch.setattr(TrainedNetwork, "objective", diverging)
    outcome = cli("train", recipe, "--data", data, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "the loss is NaN or infinite in epoch 1" in outcome.err
    assert not (tmp_path / "out/tiny/tiny.safetensors").exists()


def test_lightning_is_an_extra(tmp_path, recipe, data, cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    outcome = cli("train", recipe, "--data", data, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "pip install 'robustbench-aigen[train]'" in outcome.err


@pytest.mark.parametrize("command", ["train", "cross-generator"])
def test_help(cli, command):
    assert "Usage" in cli(command, "--help").out


def test_a_sweep_is_one_table(tmp_path, recipe, data, cli):
    outcome = trained(
        cli, recipe, data, tmp_path / "out", "--epochs", 1, "--seeds", 2, "--sweep", "augmentation=none,flip_horizontal+shift=2",
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "tiny-comparison.csv")
    assert len(table) == 4
    assert set(table["augmentation"]) == {"none", "flip_horizontal+shift=2"}
    repeats = pd.read_csv(tmp_path / "out" / "tiny-comparison-repeats.csv")
    one = table[table["augmentation"] == "none"]
    row = repeats[repeats["augmentation"] == "none"].iloc[0]
    assert row["repeats"] == 2
    assert row["auroc_mean"] == pytest.approx(one["auroc"].mean())
    assert "4 detectors" in outcome.out
    assert (tmp_path / "out" / "tiny-comparison.md").read_text().count("| tiny-") == 4


def test_folds_leave_every_image_out_once(tmp_path, recipe, data, cli):
    trained(cli, recipe, data, tmp_path / "out", "--epochs", 1, "--folds", 3)
    table = pd.read_csv(tmp_path / "out" / "tiny-comparison.csv")
    counts = [json.loads((tmp_path / "out" / name / "metrics.json").read_text()) for name in table["name"]]
    assert sum(each["figures"]["validation"]["fitted"]["n"] for each in counts) == 48
    assert {each["train_images"] for each in counts} == {32}


def test_a_detector_for_each_generator(tmp_path, recipe, cli):
    folder = write_splits(tmp_path / "two", ("gan", "diffusion"), train=16)
    trained(cli, recipe, folder, tmp_path / "out", "--epochs", 1, "--each", "--all-but-one")
    cards = {file.stem: json.loads(file.read_text()) for file in (tmp_path / "out").glob("*/tiny@*.json")}
    assert {name: card["generators"] for name, card in cards.items()} == {
        "tiny@gan": ["gan"],
        "tiny@diffusion": ["diffusion"],
        "tiny@all-but-gan": ["diffusion"],
        "tiny@all-but-diffusion": ["gan"],
    }
    card = cards["tiny@gan"]
    assert card["clean_test"]["n"] == 16
    assert set(card["clean_test"]["tpr_by_generator"]) == {"gan", "diffusion"}
    outcome = cli("train", recipe, "--data", folder, "--output", tmp_path / "out", "--generators", "gann")
    assert outcome.code == 2
    assert "did you mean 'gan'?" in outcome.err


def test_no_global_state_changes(tmp_path, recipe, data, cli):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    trained(cli, recipe, data, tmp_path / "out", "--epochs", 1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


@pytest.mark.sweep
def test_trainings_on_ray_have_the_weights_of_trainings_one_after_the_other(tmp_path, recipe, data, cli):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    options = ("--epochs", 1, "--seeds", 2)
    here = trained(cli, recipe, data, tmp_path / "here", *options)
    there = trained(cli, recipe, data, tmp_path / "there", *options, "--engine", "ray")
    assert here.code == there.code == 0
    found = {file.name: file for file in (tmp_path / "here").rglob("*.safetensors")}
    assert len(found) == 2
    for name, file in found.items():
        [other] = (tmp_path / "there").rglob(name)
        assert load_file(other).keys() == load_file(file).keys()
        for key, values in load_file(file).items():
            assert torch.equal(load_file(other)[key], values), key
    assert "comparison" in there.out
    again = trained(cli, recipe, data, tmp_path / "there", *options, "--engine", "ray")
    assert "trained already" in again.err


def test_an_address_without_ray_is_refused(tmp_path, recipe, data, cli):
    outcome = cli("train", recipe, "--data", data, "--output", tmp_path / "out", "--address", "auto")
    assert outcome.code == 2
    assert "an address is that of a Ray cluster" in outcome.err
