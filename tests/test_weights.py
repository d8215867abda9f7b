"""Weights in the forms that people keep them in: timm, torchvision, Lightning, training scripts, pickles."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from attacked import is_attacked_with_gradients, levels, score_of
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from robustbench_aigen import load_detector
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.errors import UserError
from robustbench_aigen.scenario.detector_spec import DetectorSpec


def lenet(weights: Path) -> nn.Module:
    network = build_architecture("lenet5").eval()
    network.load_state_dict(load_file(weights))
    return network


def same_as_lenet(file: Path, weights: Path) -> bool:
    ours = score_of(load_detector(file, arch="lenet5"), levels())
    return torch.equal(ours, score_of(load_detector(weights, arch="lenet5"), levels()))


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}, "args": Namespace(lr=0.1, out=Path("x"))},
        lambda state: {"model_state_dict": {f"network.{k}": v for k, v in state.items()}, "optimizer": {}},
        lambda state: {f"module._orig_mod.model.{k}": v for k, v in state.items()},
        lambda state: {"net": state, "best": np.float64(0.9), "acc": np.float32(0.9), "n": np.int64(3)},
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt"])
def test_wrappers_of_training_scripts_are_seen_through(tmp_path, weights, wrapped, suffix):
    file = tmp_path / f"mine.{suffix}"
    torch.save(wrapped(load_file(weights)), file)
    assert same_as_lenet(file, weights)


def test_a_data_parallel_and_a_compiled_network_load(tmp_path, weights):
    for number, wrapper in enumerate((nn.DataParallel, torch.compile)):
        file = tmp_path / f"{number}.pt"
        torch.save(wrapper(lenet(weights)).state_dict(), file)
        assert same_as_lenet(file, weights)


def test_a_lightning_checkpoint_loads_and_its_loss_is_left_out(tmp_path, weights):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.model = lenet(weights)
            self.loss = nn.BCEWithLogitsLoss(pos_weight=torch.ones(1))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        max_epochs=0, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.strategy.connect(Module())
    file = tmp_path / "last.ckpt"
    trainer.save_checkpoint(file)
    detector = load_detector(file, arch="lenet5")
    assert torch.equal(
        score_of(detector, levels()), score_of(load_detector(weights, arch="lenet5"), levels())
    )
    assert "left out: loss.pos_weight" in detector.assumptions[0]
    assert is_attacked_with_gradients(detector, levels())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "module.head.5.bias"}, "missing head.5.bias"),
        (lambda state: {**state, "module.extra": torch.zeros(1)}, "unexpected extra"),
        (lambda state: {**state, "module.head.5.bias": torch.zeros(3)}, "head.5.bias is 3, not 2"),
    ],
)
def test_what_does_not_fit_is_named_without_its_prefix(tmp_path, weights, change, message):
    file = tmp_path / "mine.pth"
    torch.save(change({f"module.{k}": v for k, v in load_file(weights).items()}), file)
    with pytest.raises(UserError, match=message):
        load_detector(file, arch="lenet5")


def test_a_file_without_weights_names_what_is_in_it(tmp_path):
    torch.save({"optimizer": {"a": 1}, "epoch": 2}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no state dict .it has optimizer, epoch."):
        load_detector(tmp_path / "x.pt", arch="lenet5")


def test_one_output_of_torchvision_is_the_log_odds_of_fake(tmp_path):
    import torchvision

    network = torchvision.models.shufflenet_v2_x0_5(num_classes=1).eval()
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    for arch in ("shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5"):
        detector = load_detector(tmp_path / "mine.safetensors", arch=arch)
        images = levels(2, 224, 224)
        with torch.no_grad():
            theirs = network(images / 255)[:, 0].sigmoid()
        assert torch.allclose(score_of(detector, images), theirs, atol=1e-5)
    assert is_attacked_with_gradients(detector, levels(2, 48, 48))


@pytest.mark.parametrize(
    ("arch", "message"),
    [("resnet81", "did you mean 'resnet18'"), ("timm:resnet10", "did you mean 'resnet10t'"), ("lenet", "lenet5")],
)  # fmt: skip
def test_a_misspelt_architecture_is_told_before_the_weights_are_read(tmp_path, arch, message):
    (tmp_path / "x.pth").write_text("not even weights")
    with pytest.raises(UserError) as raised:
        load_detector(tmp_path / "x.pth", arch=arch)
    assert message in str(raised.value)


def test_a_pickle_of_a_whole_network_needs_trust(tmp_path, weights):
    torch.save(lenet(weights), tmp_path / "whole.pt")
    with pytest.raises(UserError, match="add --trust-code"):
        load_detector(tmp_path / "whole.pt")
    detector = load_detector(tmp_path / "whole.pt", trust_code=True)
    with torch.no_grad():
        theirs = lenet(weights)(levels() / 255).softmax(1)[:, 1]
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-6)


def test_weights_of_timm_get_the_preprocessing_of_their_architecture(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=2).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    detector = load_detector(tmp_path / "mine.pth", arch="timm:resnet10t")
    image = levels(1, 230, 270)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        theirs = network(transform(Image.fromarray(image[0].permute(1, 2, 0).numpy()))[None]).softmax(1)
    assert torch.allclose(score_of(detector, image), theirs[:, 1], atol=1e-4)
    assert is_attacked_with_gradients(detector, levels(2))


ODD = [(300, 211), (61, 300), (224, 224), (225, 1000)]


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x1_5", "efficientnet_b0", "swin_t"])
def test_weights_of_torchvision_get_the_transforms_of_their_architecture(tmp_path, name):
    """The resize of float images differs from Pillow's by a level here and there, and by no more."""
    import torchvision

    network = torchvision.models.get_model(name, num_classes=2)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    detector = load_detector(tmp_path / "mine.pth", arch=f"torchvision:{name}")
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    std = torch.tensor(transform.std).view(3, 1, 1)
    for size in ODD:
        image = smooth(*size)
        theirs = transform(Image.fromarray(image.permute(1, 2, 0).numpy()))
        ours = detector.normalised(image[None] / 255)[0]
        far = (ours - theirs).abs() * std * 255
        assert ours.shape == theirs.shape
        assert far.max() < 2.1
        assert far.mean() < 0.02
    assert any("assumed, as usual for" in text for text in detector.assumptions)
    spec = DetectorSpec(
        path=str(tmp_path / "mine.pth"),
        arch=f"torchvision:{name}",
        input_size=64,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    declared = load_detector(spec).preprocessing
    assert (declared.input_size, declared.resize_to, declared.mean) == ((64, 64), None, (0, 0, 0))


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture with edges and a little noise, 3×H×W uint8."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse) + rng.normal(0, 10, (height, width, 3))
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def test_the_report_says_what_happens_to_an_image_before_the_network(tmp_path, image_folder, cli):
    import torchvision

    torch.save(torchvision.models.shufflenet_v2_x0_5(num_classes=1).state_dict(), tmp_path / "mine.pth")
    (tmp_path / "x.yaml").write_text(
        "version: 1\nname: x\nsummary: x\ndata: {source: images, split: all, limit: 4}\npipelines: {}\n"
        "detectors: [{path: mine.pth, arch: shufflenet_v2_x0_5}]\n"
    )
    outcome = cli("run", tmp_path / "x.yaml", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    (report,) = (tmp_path / "out").glob("x/2*/report.md")
    assert (
        "mine: shorter side 256 (bilinear), centre crop 224×224, ImageNet normalisation" in report.read_text()
    )


def test_a_vision_transformer_of_timm_is_built_for_the_declared_size(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", num_classes=1, img_size=32, depth=1).eval()
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    (tmp_path / "vit.json").write_text('{"input_size": 32, "arch_options": {"depth": 1}}')
    detector = load_detector(tmp_path / "vit.safetensors", arch="timm:vit_tiny_patch16_224")
    with torch.no_grad():
        theirs = network((levels() / 255 - 0.5) / 0.5)[:, 0].sigmoid()
    assert torch.allclose(score_of(detector, levels()), theirs, atol=1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_a_folder_of_timm_loads_with_its_configuration(tmp_path, safe):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=2).eval()
    said = {"label_names": ["ai", "nature"] if safe else {"1": "nature", "0": "ai"}}
    timm.models.save_for_hf(network, tmp_path / "mine", model_config=said, safe_serialization=safe)
    for text in (f"timm:{tmp_path / 'mine'}", str(tmp_path / "mine")):
        detector = load_detector(text)
        assert detector.preprocessing.fake_index == 0
        assert detector.preprocessing.input_size == (176, 176)
        mean, std = (
            torch.tensor(timm.data.resolve_model_data_config(network)[k]).view(1, 3, 1, 1)
            for k in ("mean", "std")
        )
        images = levels(2, 201, 201)  # What the crop percentage makes of 176.
        with torch.no_grad():
            theirs = network((images[..., 12:188, 12:188] / 255 - mean) / std).softmax(1)[:, 0]
        assert torch.allclose(score_of(detector, images), theirs, atol=1e-5)
    assert is_attacked_with_gradients(detector, levels(2))


def test_timm_without_weights_says_how_to_give_them():
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="--arch timm:resnet18"):
        load_detector("timm:resnet18")
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        load_detector("timm:resnet1888")
