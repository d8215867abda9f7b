"""Detectors made by other libraries score as those libraries do, and are attacked as far as they have gradients."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from attacked import is_attacked_with_gradients, is_attacked_without_gradients, levels, score_of
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector, Preprocessing
from robustbench_aigen.detectors.ensembles import Ensemble
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.layers import target_layer
from robustbench_aigen.scenario.detector_spec import DetectorSpec

BATCH = torch.export.Dim("batch")


def small(outputs: int = 2, last: nn.Module | None = None) -> nn.Module:
    """A network for 32×32 that has seen some images."""
    torch.manual_seed(4)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 5, 2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(96, outputs),
        *([last] if last else []),
    )
    network(torch.rand(64, 3, 32, 32))
    return network.eval()


@torch.no_grad()
def own_score(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    answer, last = network(images / 255), network[-1]
    if isinstance(last, nn.Sigmoid | nn.Softmax):
        return answer[:, -1]
    return answer[:, 0].sigmoid() if answer.shape[1] == 1 else answer.softmax(1)[:, 1]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("form", ["whole", "torchscript", "exported", "exported with a cast", "factory"])
def test_a_network_of_another_precision_is_computed_in_float32(tmp_path, kind, form):
    network, example = small().to(kind), torch.rand(3, 3, 32, 32)
    rounded = small().to(kind).float()
    if form == "whole":
        torch.save({"model": network, "epoch": 1}, tmp_path / "m.pt")
        text = "m.pt"
    elif form == "torchscript":
        torch.jit.save(torch.jit.trace(network, example.to(kind)), tmp_path / "m.pt")
        text = "m.pt"
    elif form == "factory":
        (tmp_path / "mine.py").write_text(
            f"import torch\nfrom test_foreign_formats import small\ndef build():\n    return small().to({kind})\n"
        )
        text = "python:mine.py:build"
    else:
        given = Cast(network, kind) if "cast" in form else network
        given_example = example if "cast" in form else example.to(kind)
        torch.export.save(
            torch.export.export(given, (given_example,), dynamic_shapes=({0: BATCH},)), tmp_path / "m.pt2"
        )
        text = "m.pt2"
    detector = load_detector(text, folder=tmp_path, trust_code=True)
    assert all(each.dtype == torch.float32 for each in detector.parameters())
    assert torch.allclose(score_of(detector, levels()), own_score(rounded, levels()), atol=1e-6)
    assert f"stored in {str(kind).removeprefix('torch.')}, computed in float32" in detector.assumptions


class Cast(nn.Module):
    def __init__(self, network: nn.Module, kind: torch.dtype) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.to(self.kind)).float()


def test_a_network_that_turns_its_input_into_half_precision_itself_is_left_alone_and_told(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom test_foreign_formats import Cast, small\n"
        "def build():\n    return Cast(small().half(), torch.float16)\n"
    )
    detector = load_detector("python:mine.py:build", folder=tmp_path)
    with torch.no_grad():
        theirs = Cast(small().half(), torch.float16)(levels() / 255).softmax(1)[:, 1]
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-5)
    assert any("stored in float16, and computed in this type" in text for text in detector.assumptions)


NETWORKS = {
    "two logits": small,
    "softmax": lambda: small(last=nn.Softmax(dim=1)),
    "one logit": lambda: small(1),
    "sigmoid": lambda: small(1, nn.Sigmoid()),
}


@pytest.mark.parametrize("made", NETWORKS)
@pytest.mark.parametrize("batch", ["any", "three"])
def test_an_exported_program(tmp_path, made, batch):
    network = NETWORKS[made]()
    shapes = ({0: BATCH},) if batch == "any" else None
    torch.export.save(
        torch.export.export(network, (torch.rand(3, 3, 32, 32),), dynamic_shapes=shapes), tmp_path / "m.pt2"
    )
    detector = load_detector(tmp_path / "m.pt2", trust_code=True)
    assert detector.preprocessing.input_size == (32, 32)
    assert detector.preprocessing.outputs == "logits"  # What it ended in has been taken off.
    for count in (1, 4, 6):
        assert torch.allclose(score_of(detector, levels(count)), own_score(network, levels(count)), atol=1e-5)
    assert is_attacked_with_gradients(detector, levels())


@pytest.mark.parametrize("made", NETWORKS)
def test_a_torchscript_program(tmp_path, made):
    network = NETWORKS[made]()
    torch.jit.save(torch.jit.trace(network, torch.rand(3, 3, 32, 32)), tmp_path / "m.pt")
    detector = load_detector(tmp_path / "m.pt", trust_code=True)
    assert (detector.preprocessing.outputs == "logits") == ("logit" in made)
    assert torch.allclose(score_of(detector, levels()), own_score(network, levels()), atol=1e-5)
    assert is_attacked_with_gradients(detector, levels())


@pytest.mark.parametrize("made", NETWORKS)
def test_a_network_of_ones_own(tmp_path, made, monkeypatch):
    name = f"mine_{list(NETWORKS).index(made)}"  # Modules are imported once.
    (tmp_path / f"{name}.py").write_text(
        "from test_foreign_formats import NETWORKS\n"
        f"def make():\n    return NETWORKS[{made!r}]()\n"
        "class Made:\n    def __new__(cls):\n        return make()\n"
    )
    monkeypatch.chdir(tmp_path)
    network = NETWORKS[made]()
    for text in (f"python:{name}.py:make", f"python:{name}:make", f"python:{tmp_path / name}.py:Made"):
        detector = load_detector(text)
        assert torch.allclose(score_of(detector, levels()), own_score(network, levels()), atol=1e-5)
    assert is_attacked_with_gradients(detector, levels())


def test_a_damaged_program_is_one_line_and_nothing_in_the_log(tmp_path, caplog):
    (tmp_path / "m.pt2").write_bytes(b"no archive")
    with pytest.raises(UserError, match="m.pt2: cannot be read as an exported program"):
        load_detector(tmp_path / "m.pt2", trust_code=True)
    assert not caplog.records


def test_a_factory_may_return_a_detector(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from robustbench_aigen import load_detector\ndef make():\n    return load_detector('minigen/lenet5')\n"
    )
    assert load_detector("python:mine.py:make", folder=tmp_path).name == "minigen/lenet5"


def test_gradients_that_a_network_hides_are_seen(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom test_foreign_formats import small\n"
        "def make():\n    network = small()\n"
        "    @torch.no_grad()\n    def answer(images):\n        return network(images)\n    return answer\n"
    )
    assert is_attacked_without_gradients(load_detector("python:mine.py:make", folder=tmp_path), levels())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python:mine.py", "does not name a factory"),
        ("python:mine.py:mak", "did you mean 'make'"),
        ("python:other.py:make", "no file 'other.py'"),
        ("python:nothing_like_it:make", "cannot import 'nothing_like_it'"),
        ("python:mine.py:number", "not a torch module"),
        ("python:mine.py:fails", r"fails: ValueError: my own \(.*mine.py:6\)"),
        ("python:mine.py:leaves", r"fails: SystemExit: 5 \(.*mine.py:8\)"),
        ("python:mine.py:wants", "fails: TypeError: wants.. missing 1 required"),
        ("python:broken.py:make", r"fails: SyntaxError: .*broken.py:1\)"),
        (
            "python:lacking.py:make",
            r"fails: ModuleNotFoundError: No module named 'nowhere' \(.*lacking.py:1\)",
        ),
    ],
)
def test_a_mistake_in_a_factory_is_told(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(
        "def make():\n    pass\ndef number():\n    return 3\n"
        "def fails():\n    raise ValueError('my own')\n"
        "def leaves():\n    raise SystemExit(5)\n"
        "def wants(a):\n    pass\n"
    )
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "lacking.py").write_text("import nowhere\n")
    with pytest.raises(UserError, match=message):
        load_detector(text, folder=tmp_path)


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def vit(transformers, names: list[str], **settings):
    torch.manual_seed(2)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}, **settings,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    nn.init.normal_(model.classifier.weight)  # So that what it is shown makes a difference.
    return model


PROCESSORS = {
    "bilinear": lambda t: t.ViTImageProcessor(size={"height": 32, "width": 32}),
    "bicubic": lambda t: t.ViTImageProcessor(size={"height": 32, "width": 32}, resample=3, image_mean=[0.4, 0.5, 0.6]),
    "nearest": lambda t: t.ViTImageProcessor(size={"height": 32, "width": 32}, resample=0),
    "cropped": lambda t: t.DeiTImageProcessor(size={"height": 41, "width": 41}, crop_size={"height": 32, "width": 32}),
    "shorter side": lambda t: t.CLIPImageProcessor(size={"shortest_edge": 41}, crop_size={"height": 32, "width": 32}),
    "crop percentage": lambda t: t.ConvNextImageProcessor(size={"shortest_edge": 32}),
    "lanczos": lambda t: t.ViTImageProcessor(size={"height": 32, "width": 32}, resample=1),
    "levels": lambda t: t.ViTImageProcessor(size={"height": 32, "width": 32}, do_rescale=False, do_normalize=False),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(50, 77), (30, 30), (121, 33)])
def test_a_classifier_of_transformers_with_its_own_preprocessing(tmp_path, transformers, name, size):
    model, processor = vit(transformers, ["human", "artificial"]), PROCESSORS[name](transformers)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    detector = load_detector(f"hf:{tmp_path}")
    images = levels(3, *size)
    with torch.no_grad():
        theirs = model(
            **processor([image.permute(1, 2, 0).numpy() for image in images], return_tensors="pt")
        ).logits
    assert torch.allclose(score_of(detector, images), theirs.softmax(1)[:, 1], atol=1e-4)
    if name == "shorter side":
        assert is_attacked_with_gradients(detector, images)


def test_grad_cam_of_a_classifier_of_transformers(tmp_path, transformers):
    vit(transformers, ["human", "artificial"]).save_pretrained(tmp_path)
    PROCESSORS["bilinear"](transformers).save_pretrained(tmp_path)
    detector = load_detector(f"hf:{tmp_path}")
    with borrowed(detector):
        found = target_layer(detector, levels(2, 40, 40) / 255)
    assert (found.layout, found.grid) == ("tokens", (4, 4))
    assert "layernorm_before" in found.name


@pytest.mark.parametrize(
    ("names", "fakes"),
    [
        (["fake", "real"], [0]),
        (["Nature", "AI-generated"], [1]),
        (["artificial", "human"], [0]),
        (["REAL", "other"], [1]),
        (["not_ai", "ai"], [1]),
        (["sdxl", "midjourney", "real"], [0, 1]),
        (["real photo", "LABEL_7", "DALL-E"], None),
    ],
)
def test_the_names_of_classes_say_which_are_fake(tmp_path, transformers, names, fakes):
    model = vit(transformers, names)
    model.save_pretrained(tmp_path)
    PROCESSORS["bilinear"](transformers).save_pretrained(tmp_path)
    if fakes is None:
        with pytest.raises(UserError, match="do not show which are AI-generated: real photo, LABEL_7"):
            load_detector(f"hf:{tmp_path}")
        return
    with torch.no_grad():
        theirs = model((levels() / 255 - 0.5) / 0.5).logits.softmax(1)[:, fakes].sum(dim=1)
    detector = load_detector(f"hf:{tmp_path}")
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-5)
    assert "fake_index" in detector.declared


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_of_transformers_is_computed_in_float32(tmp_path, transformers, kind):
    model = vit(transformers, ["real", "fake"]).to(kind)
    model.save_pretrained(tmp_path)
    PROCESSORS["bilinear"](transformers).save_pretrained(tmp_path)
    detector = load_detector(f"hf:{tmp_path}")
    with torch.no_grad():
        theirs = model.float()((levels() / 255 - 0.5) / 0.5).logits.softmax(1)[:, 1]
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-5)
    assert f"stored in {str(kind).removeprefix('torch.')}, computed in float32" in detector.assumptions


def test_an_image_processor_that_does_more_is_refused(tmp_path, transformers):
    vit(transformers, ["fake", "real"]).save_pretrained(tmp_path)
    transformers.EfficientNetImageProcessor(
        rescale_offset=True, size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="does more than resize, crop, rescale and normalise"):
        load_detector(f"hf:{tmp_path}")


@pytest.mark.parametrize("text", ["hf:nobody/has-this-model", "timm:nobody/has-this-model"])
def test_without_a_network_a_download_ends_in_one_line(text, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def unreachable(*args, **keys):
        raise hub.errors.LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match="cannot be downloaded: cannot reach the hub") as raised:
        load_detector(text)
    assert len(str(raised.value).splitlines()) == 2


def pixels_and_labels(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """8×8 images; fakes are brighter in red."""
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (count, 8, 8, 3)), np.arange(count) % 2
    images[labels == 1, :, :, 0] = rng.integers(100, 256, (count // 2, 8, 8))
    return images.reshape(count, -1) / 255, labels


@pytest.mark.parametrize("kind", ["probabilities", "decisions"])
def test_a_pipeline_of_scikit_learn(tmp_path, kind):
    skops = pytest.importorskip("skops.io")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    pixels, labels = pixels_and_labels()
    names = np.array(["nature", "ai"])[labels] if kind == "probabilities" else labels
    last = LogisticRegression() if kind == "probabilities" else LinearSVC()
    model = make_pipeline(StandardScaler(), last).fit(pixels, names)
    skops.dump(model, tmp_path / "m.skops")
    detector = load_detector(tmp_path / "m.skops")
    assert detector.preprocessing.input_size == (8, 8)
    images = levels(5, 8, 8)
    rows = images.permute(0, 2, 3, 1).flatten(1).numpy() / 255
    theirs = (
        model.predict_proba(rows)[:, list(model.classes_).index("ai")]
        if kind == "probabilities"
        else 1 / (1 + np.exp(-model.decision_function(rows)))
    )
    assert np.allclose(score_of(detector, images).numpy(), theirs, atol=1e-4)
    assert is_attacked_without_gradients(detector, images)
    assert score_of(detector, levels(2, 20, 30)).shape == (2,)
    with pytest.raises(UserError, match="takes 192 features, which are not the RGB values of 9×9"):
        load_detector(DetectorSpec(path=str(tmp_path / "m.skops"), input_size=9))


@pytest.fixture(scope="module")
def keras():
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    from robustbench_aigen.detectors.formats.keras_model import keras_on_torch

    return keras_on_torch("a test")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("outputs", ["sigmoid", "softmax", "linear"])
def test_a_keras_model(tmp_path, keras, suffix, outputs):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    count = 2 if outputs == "softmax" else 1
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(6, 5, strides=2, activation="relu"), layers.BatchNormalization(),
         layers.GlobalAveragePooling2D(), layers.Dense(count, activation=outputs)]
    )  # fmt: skip
    model.save(tmp_path / f"m.{suffix}")
    detector = load_detector(tmp_path / f"m.{suffix}")
    assert detector.preprocessing.input_size == (32, 32)
    theirs = model.predict(levels().permute(0, 2, 3, 1).numpy() / np.float32(255), verbose=0)
    theirs = 1 / (1 + np.exp(-theirs)) if outputs == "linear" else theirs
    assert np.allclose(score_of(detector, levels()).numpy(), theirs[:, -1], atol=1e-4)
    assert is_attacked_with_gradients(detector, levels())


def test_a_keras_model_that_rescales_levels_is_given_levels(tmp_path, keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu"),
         layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")]
    )  # fmt: skip
    model.save(tmp_path / "m.keras")
    detector = load_detector(tmp_path / "m.keras")
    theirs = model.predict(levels().permute(0, 2, 3, 1).numpy().astype(np.float32), verbose=0)
    assert np.allclose(score_of(detector, levels()).numpy(), theirs[:, 0], atol=1e-5)
    assert any("Rescaling" in text for text in detector.assumptions)


def test_a_keras_model_is_read_by_its_content_and_in_float32(tmp_path, keras):
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, dtype="bfloat16"), keras.layers.GlobalAveragePooling2D(),
         keras.layers.Dense(1, dtype="float32")]
    )  # fmt: skip
    model.save(tmp_path / "m.keras")
    (tmp_path / "m.keras").rename(tmp_path / "m.H5")
    detector = load_detector(tmp_path / "m.H5")
    assert any("made for bfloat16, computed in float32" in text for text in detector.assumptions)
    kernel, bias, weight, offset = (
        torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in model.get_weights()
    )
    means = nn.functional.conv2d(levels() / 255, kernel.permute(3, 2, 0, 1), bias).mean(dim=(2, 3))
    theirs = (means @ weight + offset)[:, 0].sigmoid()
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-5)


def test_an_ensemble_averages_scores_or_logits_or_votes(weights):
    texts = ("minigen/lenet5", "minigen/cifake_cnn", "minigen/lenet5@vae")
    members = [load_detector(text) for text in texts]
    images = levels(40)
    each = torch.stack([score_of(member, images) for member in members])
    expected = {
        "mean_score": each.mean(dim=0),
        "mean_logit": torch.logit(each.double()).mean(dim=0).sigmoid().float(),
        "majority": each.median(dim=0).values,
    }
    for rule, score in expected.items():
        detector = load_detector(DetectorSpec.model_validate({"ensemble": texts, "by": rule}))
        assert torch.allclose(score_of(detector, images), score, atol=1e-5)
        assert is_attacked_with_gradients(detector, images)
    for threshold in (0.2, 0.5, 0.9):
        votes = (each >= threshold).float().mean(dim=0) >= 0.5
        assert torch.equal(score_of(detector, images) >= threshold, votes)


def test_a_tie_of_an_ensemble_is_fake():
    plain = Preprocessing((32, 32))
    network = small()
    answers = [
        Detector.assembled(
            network, replace(plain, fake_index=index), name="a", architecture="a", weights_sha256="0"
        )
        for index in (0, 1)
    ]
    for members in (answers, answers * 2):
        assert (score_of(Ensemble(members, "majority", name="tie"), levels()) >= 0.5).all()


def test_a_saturated_softmax_keeps_its_gradient():
    """Behind it float32 has none: the logits before it are attacked where they can be reached."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(dim=1))
    nn.init.constant_(network[1].bias, 0)
    network[1].weight.data[:] = torch.tensor([-30.0, 30.0])[:, None]
    detector = Detector.assembled(
        network, Preprocessing((2, 2), outputs="probabilities"), name="s", architecture="s", weights_sha256="0"
    )  # fmt: skip
    pixels = torch.full((1, 3, 2, 2), 0.1, requires_grad=True)
    logits = detector(pixels)
    assert logits.isfinite().all()
    (gradient,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], pixels)
    assert torch.allclose(gradient, torch.full_like(gradient, 60.0), rtol=1e-3)


@pytest.mark.parametrize("probability", [0.0, 1e-30, 0.3, 1 - 1e-7, 1.0])
def test_probabilities_become_finite_logits_and_come_back(probability):
    for columns in (torch.tensor([[probability]]), torch.tensor([[1 - probability, probability]])):
        network = nn.Module()
        network.forward = lambda images, columns=columns: columns.expand(len(images), -1)
        detector = Detector.assembled(
            network, Preprocessing(None, outputs="probabilities"), name="p", architecture="p", weights_sha256="0"
        )  # fmt: skip
        logits = detector(torch.rand(2, 3, 4, 4))
        assert logits.isfinite().all()
        assert logits.softmax(1)[:, 1] == pytest.approx(probability, abs=1e-6)


def test_colours_reach_a_bgr_network_in_its_order(tmp_path):
    torch.save(small(), tmp_path / "m.pt")
    spec = DetectorSpec(
        path=str(tmp_path / "m.pt"), channels="bgr", mean=(0.1, 0.2, 0.3), std=(1, 1, 1), input_size=32
    )
    detector = load_detector(spec, trust_code=True)
    by_hand = (levels().flip(1) / 255 - torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)).mul(255)
    assert torch.allclose(score_of(detector, levels()), own_score(small(), by_hand), atol=1e-6)


def test_a_card_beside_any_file_is_read(tmp_path):
    torch.save(small(), tmp_path / "m.pt")
    (tmp_path / "m.json").write_text(
        json.dumps({"input_size": [32, 32], "fake_index": 0, "outputs": "logits"})
    )
    detector = load_detector(tmp_path / "m.pt", trust_code=True)
    assert torch.allclose(score_of(detector, levels()), 1 - own_score(small(), levels()), atol=1e-6)


def test_the_hash_follows_the_weights_of_a_folder(tmp_path, transformers):
    vit(transformers, ["fake", "real"]).save_pretrained(tmp_path)
    first = load_detector(f"hf:{tmp_path}").weights_sha256
    (tmp_path / "README.md").write_text("says nothing")
    assert load_detector(f"hf:{tmp_path}").weights_sha256 == first
    model = vit(transformers, ["fake", "real"])
    model.classifier.bias.data += 1
    model.save_pretrained(tmp_path)
    assert load_detector(f"hf:{tmp_path}").weights_sha256 != first
