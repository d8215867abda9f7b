"""Weights made elsewhere: ImageNet backbones and published detectors, through files and ``file://``."""

import dataclasses
import math
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import mobilenet_v2, resnet50

from robustbench_aigen.detectors import pretrained
from robustbench_aigen.detectors.pretrained import downloaded, hub_file
from robustbench_aigen.detectors.published import PUBLISHED, Published
from robustbench_aigen.detectors.published_weights import load_published
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.detectors.zoo.npr import neighbour_relations
from robustbench_aigen.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hub" / "checkpoints"


def from_files(name: str, *files: Path, hashed: bool = True, **options) -> dict[str, Published]:
    """The catalogue with other files in the places of a detector's own."""
    published = PUBLISHED[name]
    remotes = tuple(
        dataclasses.replace(
            remote, url=file.as_uri(), sha256=sha256(file.read_bytes()).hexdigest() if hashed else None
        )
        for remote, file in zip(published.files, files, strict=True)
    )
    return {name: dataclasses.replace(published, files=remotes, options=options)}


def test_cnnspot_is_its_authors_network(tmp_path, cache):
    """Their demo.py: normalise, ResNet-50 with one output, sigmoid."""
    torch.manual_seed(0)
    theirs = resnet50(num_classes=1).eval()
    file = tmp_path / "blur.pth"
    torch.save({"model": theirs.state_dict(), "optimizer": {"lr": 1e-4}, "total_steps": 3}, file)
    detector = load_published("cnnspot", from_files("cnnspot", file))
    pixels = torch.rand(2, 3, 50, 40)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        probability = theirs((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).sigmoid()[:, 0]
        assert torch.allclose(detector(pixels).softmax(dim=1)[:, 1], probability, atol=1e-6)
    file.unlink()
    # The second time it comes from the cache.
    assert (cache / "cnnspot_blur_jpg_prob0.5.pth").is_file()
    assert (
        detector.weights_sha256 == sha256((cache / "cnnspot_blur_jpg_prob0.5.pth").read_bytes()).hexdigest()
    )


def test_cnnspot_crops_the_centre_as_in_the_paper():
    network = build_architecture("cnnspot", crop=32).eval()
    pixels = torch.rand(1, 3, 48, 40)
    with torch.no_grad():
        assert torch.allclose(network(pixels), network(pixels[:, :, 8:40, 4:36]))


def test_npr_loads_and_is_told_apart_from_a_damaged_download(tmp_path, cache):
    torch.manual_seed(0)
    file = tmp_path / "npr.pth"
    state = build_architecture("npr").state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()}, file)
    catalogue = from_files("npr", file)
    detector = load_published("npr", catalogue)
    assert detector(torch.rand(1, 3, 33, 41)).shape == (1, 2)
    assert all(torch.equal(detector.network.state_dict()[name], value) for name, value in state.items())
    (cache / "npr_model_epoch_last_3090.pth").unlink()
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match="invalid hash value"):
        load_published("npr", catalogue)
    assert not list(cache.iterdir())


def test_the_relations_of_npr_are_its_authors():
    """Their networks/resnet.py interpolates down and up by nearest neighbour."""
    images = torch.rand(2, 3, 12, 8)
    half = functional.interpolate(images, scale_factor=0.5, mode="nearest", recompute_scale_factor=True)
    again = functional.interpolate(half, scale_factor=2.0, mode="nearest", recompute_scale_factor=True)
    assert torch.equal(neighbour_relations(images), images - again)
    assert torch.equal(neighbour_relations(functional.pad(images, (0, 1, 0, 1))), images - again)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))


class _Visual(nn.Module):
    """OpenAI's image encoder as its paper and its checkpoint's names describe it."""

    def __init__(self, width: int, depth: int, heads: int, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 14, stride=14, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(257, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.Sequential(*(_Block(width, heads) for _ in range(depth)))}
        )
        self.proj = nn.Parameter(torch.randn(width, features) / math.sqrt(width))

    def forward(self, x):
        x = self.conv1(x).flatten(2).mT
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.transformer["resblocks"](self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class _Archive(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
def test_univfd_is_a_probe_on_openais_encoder(tmp_path):
    torch.manual_seed(0)
    size = {"width": 32, "depth": 2, "heads": 2, "features": 16}
    visual, probe = _Visual(**size).eval(), nn.Linear(16, 1)
    torch.jit.trace(_Archive(visual), torch.zeros(1)).save(str(tmp_path / "clip.pt"))
    torch.save(probe.state_dict(), tmp_path / "fc.pth")
    catalogue = from_files("univfd", tmp_path / "clip.pt", tmp_path / "fc.pth", hashed=False, **size)
    detector = load_published("univfd", catalogue)
    pixels = torch.rand(2, 3, 230, 240)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        expected = probe(visual((pixels[:, :, 3:227, 8:232] - mean) / std))
        ours = detector(pixels)
    assert torch.allclose(ours[:, 1:] - ours[:, :1], expected, atol=1e-4)
    assert [said.split(" has ")[0] for said in detector.assumptions] == [
        "clip_ViT-L-14.pt",
        "univfd_fc_weights.pth",
    ]
    # A smaller image stands on black.
    small = detector(pixels[:, :, :100, :100])
    framed = functional.pad(pixels[:, :, :100, :100], (62, 62, 62, 62))
    assert torch.allclose(small, detector(framed), atol=1e-5)


def test_weights_of_something_else_are_told(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of 'npr'"):
        load_published("npr", from_files("npr", tmp_path / "other.pth"))


def test_an_absent_network_gets_one_line(monkeypatch):
    def no_network(*_):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    for load in (
        lambda: load_published("univfd"),
        lambda: build_architecture("resnet18", weights="imagenet"),
        lambda: build_architecture("resnet50_v2", weights="imagenet"),
    ):
        with pytest.raises(UserError, match="cannot be downloaded: .*Name or service not known") as raised:
            load()
        assert len(str(raised.value).splitlines()) == 2
    with pytest.raises(UserError, match="did you mean 'univfd'"):
        load_published("univfed")


def test_every_published_file_is_pinned():
    for published in PUBLISHED.values():
        for remote in published.files:
            assert remote.url.startswith("https://")
            assert remote.licence
            assert remote.sha256 is None or len(bytes.fromhex(remote.sha256)) == 32


def test_a_damaged_file_of_the_cache_is_downloaded_again(tmp_path, cache):
    content = bytes(range(256)) * 40
    digest = sha256(content).hexdigest()
    (tmp_path / "there.pth").write_bytes(content)
    url = (tmp_path / "there.pth").as_uri()
    file = hub_file(url, digest)
    for damaged in (content[:-1], b"", b"x" + content[1:]):
        file.write_bytes(damaged)
        for known in (digest, digest[:8]):
            assert hub_file(url, known).read_bytes() == content
    assert [path.name for path in cache.iterdir()] == ["there.pth"]
    (tmp_path / "there.pth").unlink()
    assert hub_file(url, digest) == file
    file.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be downloaded"):
        downloaded(lambda: hub_file(url, digest))


def test_imagenet_weights_come_from_the_cache_without_their_head(cache, monkeypatch):
    # Weights of chance have no hash that a name could begin with.
    monkeypatch.setattr(pretrained, "sha256_of_file", lambda file: file.stem.rpartition("-")[2])
    torch.manual_seed(0)
    original = mobilenet_v2(weights=None)
    cache.mkdir(parents=True)
    torch.save(original.state_dict(), cache / "mobilenet_v2-b0353104.pth")
    network = build_architecture("mobilenet_v2", weights="imagenet")
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval().features(pixels), original.eval().features(pixels))
    assert network.classifier[1].weight.shape == (2, 1280)


def test_a_local_file_of_a_backbone(tmp_path):
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    build_architecture("resnet50_frozen", weights=str(tmp_path / "resnet50.pth"))
    with pytest.raises(UserError, match="not of this backbone"):
        build_architecture("resnet18", weights=str(tmp_path / "resnet50.pth"))
    with pytest.raises(UserError, match="no weights file"):
        build_architecture("resnet18", weights="imagnet")


def test_a_local_file_of_deit_at_another_size(tmp_path):
    whole = build_architecture("deit_bottleneck", variant="tiny", input_size=64)
    torch.save(whole.backbone.state_dict(), tmp_path / "deit.pth")
    other = build_architecture(
        "deit_bottleneck", variant="tiny", input_size=32, weights=str(tmp_path / "deit.pth")
    )
    assert torch.equal(other.backbone.blocks[3].mlp.fc1.weight, whole.backbone.blocks[3].mlp.fc1.weight)
    assert other.backbone.pos_embed.shape[1] == 5


def test_resnet50_v2_is_keras_own(tmp_path, monkeypatch):
    """The same function on Keras' weights, with every bias and statistic drawn anew."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    theirs = keras.applications.ResNet50V2(
        weights=None, include_top=False, pooling="avg", input_shape=(64, 64, 3)
    )
    rng = np.random.default_rng(0)
    for variable in theirs.weights:
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif not variable.path.endswith("kernel"):
            variable.assign(rng.normal(0, 0.3, variable.shape))
    with h5py.File(tmp_path / "keras.h5", "w") as stored:
        save_weights_to_hdf5_group(stored, theirs)
    network = build_architecture("resnet50_v2", weights=str(tmp_path / "keras.h5")).eval()
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        ours = network.head[:2](functional.relu(network.post_bn(network.blocks(network.stem(images)))))
        expected = torch.as_tensor(theirs(images.permute(0, 2, 3, 1).numpy(), training=False)).cpu()
    assert torch.allclose(ours, expected, atol=1e-4)
    with h5py.File(tmp_path / "keras.h5", "a") as stored:
        del stored["post_bn"]
    with pytest.raises(UserError, match="holds no layer 'post_bn'"):
        build_architecture("resnet50_v2", weights=str(tmp_path / "keras.h5"))
    (tmp_path / "keras.h5").write_text("text")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        build_architecture("resnet50_v2", weights=str(tmp_path / "keras.h5"))
