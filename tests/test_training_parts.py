"""Recipes, augmentations, order, splits, figures and the cross-generator tables, each against something else."""

import json
import math
import os
import re
import shlex

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from pydantic import ValidationError
from sklearn import metrics as sklearn_metrics
from test_metrics import won_pairs
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import rotate
from training_data import RECIPE, write_recipe, write_splits

from robustbench_aigen.data.file_search import files_below
from robustbench_aigen.data.layouts.folder import FolderSource
from robustbench_aigen.data.near_duplicates import fingerprint
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.detectors.zoo import architecture_names, build_architecture
from robustbench_aigen.engine.progress import Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.training.assignments import read_sweep
from robustbench_aigen.training.augmentation import KINDS, read_augmentation
from robustbench_aigen.training.augmenting import augment
from robustbench_aigen.training.batches import LabelledRows, Shuffled
from robustbench_aigen.training.evaluation import Scored, figures, roc_points
from robustbench_aigen.training.generator_matrix import gaps, genimage_table, matrix
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.recipe import Settings, load_recipe, shipped_recipes
from robustbench_aigen.training.splits import split_source

pytestmark = pytest.mark.usefixtures("undrawn")

PUBLISHED_DETECTORS = {"ferretnet_s", "npr", "tiny_ladeda", "univfd"}
"""Their authors' checkpoints are what people run."""


def test_every_system_has_a_recipe_and_every_recipe_can_be_read():
    recipes = {name: load_recipe(name) for name in shipped_recipes()}
    assert set(recipes) == set(architecture_names()) - PUBLISHED_DETECTORS
    for name, loaded in recipes.items():
        recipe = loaded
        assert recipe.name == recipe.arch == name
        assert recipe.study
        assert recipe.summary
        # Who departs from a study says why.
        assert recipe.reason or not recipe.published
        published = loaded.as_published().settings
        changed = {
            key for key in recipe.published if getattr(published, key) != getattr(recipe.settings, key)
        }
        assert changed == set(recipe.published)


@pytest.mark.parametrize(
    ("wrong", "line", "said"),
    [
        ("epochs: 3", "epoch: 3", "did you mean 'epochs'?"),
        ("batch_size: 8", "batch_size: 0", "greater than 0"),
        ("learning_rate: 1e-3", "learning_rate: fast", "number greater than 0"),
        ("flip_horizontal", "flip_horizontl", "did you mean 'flip_horizontal'?"),
        ("gaussian_noise: 0.02", "gaussian_noise: 2", "at most 1"),
        ("precision: fp32", "precision: fp23", "'fp32'"),
        ("precision: fp32", "published: {epoch: 1}", "did you mean 'epochs'?"),
    ],
)
def test_a_mistake_in_a_recipe_is_told_with_its_line(tmp_path, wrong, line, said):
    text = RECIPE.replace(wrong, line)
    file = write_recipe(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_recipe(file)
    number = next(n for n, content in enumerate(text.splitlines(), 1) if line in content)
    assert f"{file}:{number}" in str(error.value)
    assert said in str(error.value)


def test_a_network_is_built_for_the_size_of_its_images():
    for given, expected in [({}, {}), ({"input_size": 64}, {"input_size": 64})]:
        settings = Settings.model_validate({"arch": "wide_kernel_cnn", **given})
        assert settings.network_options == expected
    network = build_architecture("growing_kernel_cnn", **_settings(input_size=112).network_options)
    assert network.eval()(torch.zeros(1, 3, 112, 112)).shape == (1, 2)
    assert Settings.model_validate({"arch": "resnet18", "input_size": 64}).network_options == {}
    with pytest.raises(ValidationError, match="square"):
        _settings(input_size=[64, 32])
    with pytest.raises(ValidationError, match="write only input_size"):
        _settings(input_size=64, arch_options={"input_size": 112})
    with pytest.raises(ValidationError, match="write only input_size"):
        _settings(arch_options={"input_size": 112})


def _settings(**given):
    return Settings.model_validate({"arch": "growing_kernel_cnn", **given})


def test_mistakes_on_the_command_line_are_told(tmp_path, cli):
    file, data = write_recipe(tmp_path), tmp_path / "none"
    for arguments, said in [
        (("lenet", "--data", "minigen"), "did you mean 'lenet5'?"),
        ((file, "--data", "minigen", "--set", "optimiser=sgd"), "did you mean 'optimizer'?"),
        ((file, "--data", "minigen", "--sweep", "optimizer=adam,adam"), "twice"),
        ((file, "--data", "minigen", "--sweep", "optimizer"), "KEY=VALUE"),
        ((file, "--data", data), "no data at"),
        ((file, "--data", "minigen", "--set", "arch=lenet6"), "did you mean 'lenet5'?"),
    ]:
        outcome = cli("train", *arguments, "--output", tmp_path / "out", "--limit", 20)
        assert outcome.code == 2, arguments
        assert said in outcome.err
        assert len(outcome.err.strip().splitlines()) <= 2


def test_a_sweep_is_read():
    assert read_sweep(
        ["optimizer=adam,sgd", "learning_rate=1e-3,0.1", "augmentation=none,zoom=0.2+shift"]
    ) == {
        "optimizer": ["adam", "sgd"],
        "learning_rate": ["1e-3", 0.1],  # YAML's own reading; the recipe takes both.
        "augmentation": [[], ["zoom=0.2", "shift"]],
    }


def pictures(count=6, height=12, width=10):
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(3))


def applied(pixels, *names, seed=0):
    steps = [read_augmentation(name) for name in names]
    return augment(pixels, steps, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", KINDS)
def test_augmentations_stay_pixels_differ_by_image_and_repeat(name):
    pixels = pictures(1).expand(16, -1, -1, -1).clone()
    strong = f"{name}=0.9" if KINDS[name].default is not None and KINDS[name].largest <= 1 else name
    changed = applied(pixels, strong)
    assert changed.shape == pixels.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert len({image.numpy().tobytes() for image in changed}) > 1
    assert torch.equal(changed, applied(pixels, strong))
    assert not torch.equal(changed, applied(pixels, strong, seed=1))


def test_flips_and_shifts_move_pixels_and_change_none():
    pixels = pictures(40)
    for name, side in (("flip_horizontal", 3), ("flip_vertical", 2)):
        changed = applied(pixels, name)
        flipped = [torch.equal(new, old.flip(side - 1)) for new, old in zip(changed, pixels, strict=True)]
        same = [torch.equal(new, old) for new, old in zip(changed, pixels, strict=True)]
        assert all(a != b for a, b in zip(flipped, same, strict=True))
        assert 10 < sum(flipped) < 30
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2), mode="reflect")
    for image, old in zip(applied(pixels, "shift=2"), padded, strict=True):
        windows = [old[:, y : y + 12, x : x + 10] for y in range(5) for x in range(5)]
        assert any(torch.equal(image, window) for window in windows)


def test_a_rotation_is_torchvisions():
    pixels = pictures(4, 21, 21)
    changed = applied(pixels, "rotation=30")
    angles = torch.rand((4, 1), generator=torch.Generator().manual_seed(0)) * 60 - 30
    for image, old, angle in zip(changed, pixels, angles[:, 0].tolist(), strict=True):
        wanted = rotate(old, angle, interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(image[:, 7:14, 7:14], wanted[:, 7:14, 7:14], atol=1e-4, rtol=0)


def test_blur_and_jpeg_touch_the_share_that_was_asked_for():
    pixels = pictures(400, 8, 8)
    changed = (applied(pixels, "blur_jpeg=0.1") != pixels).flatten(1).any(1)
    assert 0.19 * 400 - 40 < changed.sum() < 0.19 * 400 + 40


@pytest.fixture
def source(tmp_path):
    return FolderSource(write_splits(tmp_path / "data", ("gan", "vae"), train=20))


def rows(tmp_path, source, indices):
    store = LevelStore(tmp_path / "store", source, indices, (32, 32), Silent())
    return LabelledRows.of(store, indices, source.samples)


def test_validation_is_held_out_of_training_and_never_of_the_test(source):
    splits = split_source(source, 0.25, None)
    assert not {*splits.train} & {*splits.val}
    assert {source.samples[i].split for i in (*splits.train, *splits.val)} == {"train"}
    assert {source.samples[i].split for i in splits.test} == {"test"}
    counts = pd.Series([source.samples[i].generator for i in splits.val]).value_counts()
    assert dict(counts) == {"real": 5, "gan": 5, "vae": 5}
    hashes = [{fingerprint(source.encoded(i)).bits for i in part} for part in (splits.train, splits.val)]
    assert not hashes[0] & hashes[1]
    alone = splits.of(["gan"])
    assert {source.samples[i].generator for i in alone.train} == {"real", "gan"}
    assert alone.test == splits.test


def test_an_interrupted_decoding_leaves_nothing_behind(tmp_path, source, monkeypatch):
    class Interrupting(Silent):
        def advance(self, images: int) -> None:
            raise KeyboardInterrupt

    folder = tmp_path / "store"
    folder.mkdir()
    indices = split_source(source, 0.25, None).train
    with pytest.raises(KeyboardInterrupt):
        LevelStore(folder, source, indices, (32, 32), Interrupting())
    assert not list(folder.iterdir())
    whole = LevelStore(folder, source, indices, (32, 32), Silent())
    assert len(whole.readable(indices)) == len(indices)
    # What a killed one left goes with the next that looks into the folder.
    left = folder / ".partial-elsewhere"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    LevelStore(folder, source, indices, (32, 32), Silent())
    assert not left.exists()


def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        files_below(tmp_path / "nowhere", {".png"})


def test_the_store_holds_what_the_files_hold(tmp_path, source):
    split = split_source(source, 0.25, None)
    images = rows(tmp_path, source, split.train)
    levels, labels = images.batch(np.arange(len(images)))
    from robustbench_aigen.numerics.decoding import decode

    for row, index in enumerate(split.train):
        assert torch.equal(levels[row], decode(source.encoded(index)))
        assert labels[row] == source.samples[index].label
    # The second time it is not decoded again: the map alone is read.
    file = next((tmp_path / "store").glob("*.npy"))
    written = file.stat().st_mtime_ns
    rows(tmp_path, source, split.train)
    assert file.stat().st_mtime_ns == written


def test_an_unreadable_image_is_left_out_and_named(tmp_path, source, cli):
    broken = tmp_path / "data" / "train" / "real" / "003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    outcome = cli(
        "train",
        write_recipe(tmp_path),
        "--data",
        tmp_path / "data",
        "--output",
        tmp_path / "out",
        "--epochs",
        1,
    )
    assert outcome.code == 0, outcome.err
    assert "train/real/003.png is left out" in outcome.err


def test_the_order_depends_on_seed_and_epoch_and_is_balanced(tmp_path, source):
    images = rows(tmp_path, source, split_source(source, 0.25, None).train)
    one, other = (Shuffled(images, 8, 5, balance=True) for _ in range(2))
    first, second = list(one), list(one)
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))
    # 15 reals against 30 fakes: 30 images an epoch, so three full batches.
    assert len(first) == 3
    other.go_to({"epoch": 1, "next_batch": 2})
    assert torch.equal(next(iter(other))[0], second[2][0])
    whole = Shuffled(images, 30, 5, balance=True)
    assert [int(labels.sum()) for _, labels in whole] == [15]


def test_figures_are_those_of_scikit_learn_or_counted():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    log_odds = rng.normal(1.2 * labels - 0.6, 1).astype(np.float32)
    log_odds[:2] = 60, -60  # A float32 probability is 1.0 from 17 nats on.
    score = 1 / (1 + np.exp(-log_odds.astype(float)))
    samples = [Sample(str(n), int(label), "x", None) for n, label in enumerate(labels)]
    scored = Scored(samples, log_odds)
    found, verdict = figures(scored, HALF), score >= 0.5
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, verdict), abs=1e-6)
    for key, reference in (
        ("precision", sklearn_metrics.precision_score),
        ("recall", sklearn_metrics.recall_score),
        ("f1", sklearn_metrics.f1_score),
        ("balanced_accuracy", sklearn_metrics.balanced_accuracy_score),
    ):
        assert found[key] == pytest.approx(reference(labels, verdict), abs=1e-6)
    by_hand = [[int(((labels == row) & (verdict == column)).sum()) for column in (0, 1)] for row in (0, 1)]
    assert found["confusion_matrix"] == by_hand
    right = torch.from_numpy(np.where(labels == 1, log_odds, -log_odds)).double()
    assert found["loss"] == pytest.approx(-functional.logsigmoid(right).mean().item(), abs=1e-6)
    assert not found["answers_one_class"]
    for fpr, tpr, threshold, odds in roc_points(scored).itertuples(index=False):
        called = log_odds >= odds
        assert threshold == pytest.approx(1 / (1 + np.exp(-float(odds))))
        assert (fpr, tpr) == pytest.approx((called[labels == 0].mean(), called[labels == 1].mean()))
    assert found["auroc"] == pytest.approx(won_pairs(labels, log_odds), abs=1e-6)
    assert figures(Scored(samples, np.ones(200, np.float32)), HALF)["answers_one_class"]
    assert not math.isnan(figures(Scored(samples, np.ones(200, np.float32)), HALF)["loss"])


def test_the_cross_generator_tables_by_hand():
    accuracies = {("one", "a"): 0.9, ("one", "b"): 0.6, ("one", "c"): 0.5, ("both", "a"): 0.8, ("both", "b"): 0.8,
                  ("both", "c"): 0.7}  # fmt: skip
    rows_ = [
        {
            "detector": d,
            "pipeline": "clean",
            "generator": g,
            "n": 10,
            "accuracy": v,
            "balanced_accuracy": v,
            "tpr": v,
        }
        for (d, g), v in accuracies.items()
    ] + [{"detector": "one", "pipeline": "clean", "generator": "all", "n": 30, "balanced_accuracy": 0.1}]
    table = matrix(pd.DataFrame(rows_), {"one": ["a"], "both": ["a", "b"]})
    found = gaps(table).set_index("detector")
    assert found.loc["one", ["in_domain", "foreign", "difference"]].tolist() == pytest.approx(
        [0.9, 0.55, 0.35]
    )
    assert found.loc["both", ["in_domain", "foreign", "difference"]].tolist() == pytest.approx(
        [0.8, 0.7, 0.1]
    )
    wide = genimage_table(table, "clean")
    assert list(wide.columns) == ["a", "b", "c", "average"]
    assert wide.loc[("one", "a")].tolist() == pytest.approx([0.9, 0.6, 0.5, 2 / 3])


def test_the_protocol_from_the_command_line(tmp_path, cli, drawn):
    folder = write_splits(tmp_path / "two", ("gan", "diffusion"), train=16)
    scenario = tmp_path / "protocol.yaml"
    scenario.write_text(
        f"version: 1\nname: protocol\ndata: {{source: {folder}, split: test}}\ndetectors: [minigen/lenet5]\n"
        "pipelines:\n  jpeg: [{perturb: jpeg, quality: 75}]\n"
    )
    recipe = write_recipe(tmp_path)
    outcome = cli(
        "cross-generator", recipe, "--scenario", scenario, "--epochs", 1, "--output", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.err
    run = tmp_path / "out" / "protocol" / "latest"
    table = pd.read_csv(run / "tables" / "protocol.csv")
    assert set(table["detector"]) == {"tiny@gan", "tiny@diffusion", "tiny"}
    assert set(table["pipeline"]) == {"clean", "jpeg"}
    summary = pd.read_csv(run / "summary.csv").set_index(["detector", "pipeline", "generator"])
    for row in table.itertuples():
        wanted = summary.loc[(row.detector, row.pipeline, row.generator), "balanced_accuracy"]
        assert row.balanced_accuracy == pytest.approx(wanted)
        assert row.in_domain == (row.generator in row.trained_on.split("+"))
    assert {file.suffix for file in (run / "figures").glob("protocol.*")} == {".png", ".pdf"}
    genimage = pd.read_csv(run / "tables" / "protocol_genimage.csv")
    assert list(genimage.columns) == ["pipeline", "detector", "trained_on", "diffusion", "gan", "average"]
    assert "| tiny@gan | gan |" in (run / "tables" / "protocol.md").read_text()
    card = json.loads((tmp_path / "out" / "detectors" / "tiny" / "tiny.json").read_text())
    assert card["generators"] == ["diffusion", "gan"]


def test_the_protocol_takes_data_as_a_run_does(tmp_path, monkeypatch, cli):
    """A data set of the hub is no path, and what stands in braces is read."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for given, said in (("hf://no/such", "'hf://no/such'"), ("{source: minigen, layuot: csv}", "'layout'")):
        outcome = cli("cross-generator", "--data", given, "--output", tmp_path)
        assert outcome.code == 2
        assert said in outcome.err


def test_a_detector_without_a_card_has_no_place_in_the_protocol(tmp_path, weights, cli):
    scenario = tmp_path / "protocol.yaml"
    scenario.write_text(
        f"version: 1\nname: protocol\ndata: {{source: minigen}}\ndetectors: [{{path: {weights}, arch: lenet5}}]\npipelines: {{}}\n"
    )
    outcome = cli("cross-generator", "--scenario", scenario, "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "the training generators of 'untrained' are unknown" in outcome.err


def test_the_examples_of_the_document_run(tmp_path, monkeypatch, cli):
    """As they stand, on small data, for one epoch; where they are sweeps, each combination of few.

    Two generators stand for minigen's five.
    """
    text = (REPOSITORY / "docs" / "TRAINING.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write_splits(tmp_path / "CIFAKE", train=12)
    write_splits(tmp_path / "FACES", train=12)
    write_splits(tmp_path / "two", ("dcgan", "vae"), train=12)
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    ours = [shlex.split(command)[1:] for command in commands if command.startswith("robust-aigen")]
    assert len(ours) == len(commands) - 1 >= 10
    for arguments in ours:
        is_training = arguments[0] == "train" or arguments[1:2] == ["lenet5"]
        small = ["--epochs", "1"] if is_training else []
        small += ["--limit", "40"] if arguments == ["cross-generator"] else []
        outcome = cli(*("two" if each == "minigen" else each for each in arguments), *small)
        assert outcome.code == 0, (arguments, outcome.err)


def test_the_recipe_of_the_document_is_one(tmp_path):
    text = (REPOSITORY / "docs" / "TRAINING.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert load_recipe(write_recipe(tmp_path, block)).arch == "genimage_cnn"
    said = {
        name
        for names in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert set(KINDS) <= said
