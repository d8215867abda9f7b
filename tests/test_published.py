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
from conftest import SHARED_DATA
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision.models import mobilenet_v2, resnet50
from torchvision.transforms.functional import center_crop, to_tensor

from robustbench_aigen import load_detector
from robustbench_aigen.detectors import mean_in_tiles, pretrained
from robustbench_aigen.detectors.medians import neighbour_median
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


def test_a_published_detector_takes_another_crop(tmp_path, monkeypatch):
    """As CNNSpot's paper crops the centre."""
    torch.manual_seed(0)
    torch.save({"model": resnet50(num_classes=1).state_dict()}, tmp_path / "blur.pth")
    (entry,) = from_files("cnnspot", tmp_path / "blur.pth").values()
    monkeypatch.setitem(PUBLISHED, "cnnspot", entry)
    detector = load_detector({"id": "cnnspot", "input_size": 32, "crop": "center", "name": "cropped"})
    pixels = torch.rand(1, 3, 48, 40)
    with torch.no_grad():
        assert torch.allclose(detector(pixels), load_detector("cnnspot")(pixels[:, :, 8:40, 4:36]), atol=1e-5)
    assert detector.name == "cropped"


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


FERRETNET = SHARED_DATA / "detectors" / "ferretnet-s-median-3.pth"
needs_ferretnet = pytest.mark.skipif(not FERRETNET.is_file(), reason="the weights of FerretNet-S are absent")


def plain_ferretnet(weights, images):
    """FerretNet-S in functions of torch, from a checkpoint's tensors: N logits of fake for N×3×256×256 pixels."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    x = (images - mean) / std

    def norm(x, name):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts)

    windows = functional.unfold(x.flatten(0, 1)[:, None], 3, padding=1).view(*x.shape[:2], 9, *x.shape[2:])
    windows[:, :, 4] = 0
    x = x - windows.median(dim=2).values
    for name, stride in (("cbr1", 1), ("cbr2", 2)):
        x = functional.conv2d(x, weights[f"{name}.0.weight"], stride=stride, padding=1)
        x = norm(x, f"{name}.1").relu()
    for stage in (0, 1):
        for block in (0, 1):
            name, stride, groups = f"feature.{stage}.{block}", 2 - block, x.shape[1]
            inner = f"{name}.layers.0"
            near = functional.conv2d(x, weights[f"{inner}.conv1.weight"], None, stride, 1, 1, groups)
            far = functional.conv2d(x, weights[f"{inner}.conv2.weight"], None, stride, 2, 2, groups)
            y = norm(
                functional.conv2d(near + far, weights[f"{inner}.conv3.weight"]), f"{name}.layers.1"
            ).relu()
            deep = weights[f"{name}.layers.3.depth_wise.weight"]
            y = functional.conv2d(y, deep, padding=1, groups=len(deep))
            y = norm(functional.conv2d(y, weights[f"{name}.layers.3.point_wise.weight"]), f"{name}.layers.4")
            if block == 0:
                short = weights[f"{name}.shortcut.0.weight"], weights[f"{name}.shortcut.0.bias"], stride
                x = norm(functional.conv2d(x, *short), f"{name}.shortcut.1")
            x = (x + y).relu()
    x = functional.conv2d(x, weights["feature.2.weight"]).mean(dim=(2, 3))
    return functional.linear(x, weights["logit.1.weight"], weights["logit.1.bias"])[:, 0]


@needs_ferretnet
@torch.no_grad()
def test_ferretnet_gives_the_scores_of_a_plain_reading_of_its_file(monkeypatch):
    weights = torch.load(FERRETNET, map_location="cpu", weights_only=True)["model"]
    monkeypatch.setitem(PUBLISHED, "ferretnet_s", from_files("ferretnet_s", FERRETNET)["ferretnet_s"])
    files = [
        *sorted((SHARED_DATA / "faces").glob("*/*"))[::400],
        *sorted((SHARED_DATA / "genimage8").glob("*/val/*/*"))[::120],
    ]
    crops = [center_crop(to_tensor(Image.open(file).convert("RGB")), [256, 256]) for file in files]
    wanted = plain_ferretnet(weights, torch.stack(crops)).double()
    assert wanted.std() > 0.5
    for spec in ("ferretnet_s", {"path": str(FERRETNET), "arch": "ferretnet_s"}):
        odds = load_detector(spec).log_odds(files).double()
        assert (odds.sigmoid() - wanted.sigmoid()).abs().max() < 1e-5
        assert torch.allclose(odds, wanted, atol=1e-3)


@pytest.mark.parametrize(("name", "front"), [("WildRF", "gradient"), ("ForenSynth", "npr")])
@torch.no_grad()
def test_tiny_ladeda_gives_the_scores_of_a_plain_reading_of_its_file(name, front, monkeypatch):
    file = SHARED_DATA / "detectors" / f"{name}_Tiny_LaDeDa.pth"
    if not file.is_file():
        pytest.skip("the weights of Tiny-LaDeDa are absent")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    entry = f"tiny_ladeda/{name.lower()}"
    monkeypatch.setitem(PUBLISHED, entry, from_files(entry, file, front=front)[entry])
    levels = torch.randint(0, 256, (3, 3, 256, 256), generator=torch.Generator().manual_seed(0)).byte()
    levels[1] = levels[1] // 8 * 8
    x = (levels / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    if front == "gradient":
        kernel = torch.tensor([[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]).view(1, 1, 3, 3)
        x = functional.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view(x.shape)
    else:
        x = x - functional.interpolate(functional.interpolate(x, scale_factor=0.5), scale_factor=2)

    def norm(x, name):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts).relu()

    x = functional.conv2d(functional.conv2d(x, weights["conv1.weight"]), weights["conv2.weight"])
    x = norm(functional.conv2d(norm(x, "bn1"), weights["layer1.0.conv1.weight"]), "layer1.0.bn1")
    x = norm(functional.conv2d(x, weights["layer1.0.conv2.weight"], stride=2), "layer1.0.bn2")
    wanted = functional.linear(x.mean(dim=(2, 3)), weights["fc.weight"], weights["fc.bias"])[:, 0]
    spec = {"path": str(file), "arch": "tiny_ladeda", "arch_options": {"front": front}}
    undeclared = load_detector({"path": str(file), "arch": "tiny_ladeda"})
    for detector in (load_detector(entry), load_detector(spec), undeclared):
        assert torch.allclose(detector.log_odds(levels), wanted, rtol=1e-4, atol=1e-4)
    assert any(f"front: {front}, read from" in said for said in undeclared.assumptions)
    assert not any("front" in said for said in load_detector(spec).assumptions)
    # The other front gives another network, and its answers are another detector's.
    other = load_detector({**spec, "arch_options": {"front": "npr" if front == "gradient" else "gradient"}})
    assert other.identity() != detector.identity()
    assert any(f"look trained with front: {front}" in said for said in other.assumptions)


@needs_ferretnet
def test_weights_of_another_architecture_name_their_own():
    with pytest.raises(UserError, match="do not fit architecture 'tiny_ladeda'") as raised:
        load_detector({"path": str(FERRETNET), "arch": "tiny_ladeda"})
    assert "those of ferretnet_s" in str(raised.value.hint)
    options = {"path": str(FERRETNET), "arch": "ferretnet_s", "arch_options": {"width": 3}}
    with pytest.raises(UserError, match="'ferretnet_s' does not take these options"):
        load_detector(options)
    with pytest.raises(UserError, match="brings its"):
        load_detector({"id": "minigen/lenet5", "arch_options": {"width": 3}})


def test_the_median_of_the_neighbours_and_its_gradient_are_torchs():
    images = torch.randn(2, 3, 9, 7, requires_grad=True)
    windows = functional.unfold(images.flatten(0, 1)[:, None], 3, padding=1).view(2, 3, 9, 9, 7)
    windows = torch.cat([windows[:, :, :4], torch.zeros(2, 3, 1, 9, 7), windows[:, :, 5:]], dim=2)
    wanted, ours = windows.median(dim=2).values, neighbour_median(images)
    assert torch.equal(wanted, ours)
    weights = torch.randn(2, 3, 9, 7)
    gradients = [torch.autograd.grad((each * weights).sum(), images)[0] for each in (wanted, ours)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", ["ferretnet_s", "npr"])
@pytest.mark.parametrize("sides", [(173, 141), (64, 200)])
def test_large_images_in_tiles_have_the_logits_and_gradients_of_whole_ones(name, sides, monkeypatch):
    torch.manual_seed(0)
    # In float32, a ReLU whose input is 0 up to round-off may pass the gradient in one computation alone.
    network = build_architecture(name).double().eval().requires_grad_(False)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1), norm.running_var.uniform_(0.5, 2), norm.bias.normal_()
    images = torch.randn(1, 3, *sides, dtype=torch.float64)

    def answer():
        pixels = images.clone().requires_grad_()
        logits = network(pixels)
        return logits.detach(), torch.autograd.grad(logits[:, 1].sum(), pixels)[0]

    whole, gradient = answer()
    monkeypatch.setattr(mean_in_tiles, "_AT_ONCE", 1)
    monkeypatch.setattr(mean_in_tiles, "_TILE", 40)
    tiled, again = answer()
    torch.testing.assert_close(whole, tiled, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, again, rtol=0, atol=1e-12 * float(gradient.abs().max()))


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
