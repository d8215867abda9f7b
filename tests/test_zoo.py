"""The zoo: parameter counts of the studies, shapes, gradients, and an attack on every architecture."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.detectors.contract import Detector, Preprocessing
from robustbench_aigen.detectors.keras_resnet_v2 import ResNet50V2
from robustbench_aigen.detectors.svm import FittedNetwork
from robustbench_aigen.detectors.thresholds import HALF
from robustbench_aigen.detectors.zoo import (
    architecture_names,
    build_architecture,
    default_input_size,
    default_normalisation,
    published_preprocessing,
)
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.layers import target_layer
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.recipe_files import shipped_recipes
from robustbench_aigen.stages.stage import make_stage

SMALL = {
    "clip_probe": {"width": 32, "depth": 2, "heads": 2, "features": 16, "input_size": 32},
    "deit_bottleneck": {"variant": "tiny", "input_size": 32},
    "growing_kernel_cnn": {"input_size": 80},
    "hog_svm": {"input_size": 32},
    "shoes_cnn": {"input_size": 40},
    "univfd": {"width": 32, "depth": 2, "heads": 2, "features": 16},
    "wide_kernel_cnn": {"input_size": 32},
}
"""Options that make an architecture cheap; the others are small, or take 32 pixels as they are."""


def side(name: str) -> int:
    return SMALL.get(name, {}).get("input_size", 32)


def pictures(name: str, count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side(name), side(name)), generator=generator).to(torch.uint8)


@lru_cache
def small(name: str) -> Detector:
    """A detector of every architecture: untrained, or fitted to noise."""
    torch.manual_seed(3)
    network = build_architecture(name, **SMALL.get(name, {})).eval()
    normalisation = default_normalisation(name)
    size = None if default_input_size(name) is None else (side(name), side(name))
    own = published_preprocessing(name)
    # A network of one size, whose authors crop.
    preprocessing = Preprocessing(**own) if own.get("crop") else Preprocessing(size, *normalisation)
    detector = Detector.assembled(network, preprocessing, name=name, architecture=name, weights_sha256="0")
    if isinstance(network, FittedNetwork):
        pixels = to_pixels(pictures(name))
        with torch.no_grad():
            features = network.features((pixels - detector.mean) / detector.std)
        network.fit(features, [0, 1] * 3)
    return detector


@lru_cache
def parameters(name: str, **options) -> int:
    """Numbers that training or fitting decides, counted without making them."""
    with torch.device("meta"):
        network = build_architecture(name, **options)
    fitted = network.decision.buffers() if isinstance(network, FittedNetwork) else ()
    return sum(tensor.numel() for tensor in (*network.parameters(), *fitted))


def test_the_parameter_counts_of_the_studies():
    assert parameters("cifake_cnn") == pytest.approx(1.47e6, rel=0.005)
    assert parameters("cifake_cnn", input_size=240) == pytest.approx(59.40e6, rel=0.0001)
    assert parameters("cifake_cnn", input_size=240, padding=False) == parameters("shoes_cnn")
    assert parameters("shoes_cnn") == pytest.approx(44.72e6, rel=0.0001)
    assert parameters("wide_kernel_cnn") == pytest.approx(193e6, rel=0.001)
    by_hand = (75 * 6 + 6) + 12 + (150 * 16 + 16) + 32 + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 2 + 2)
    assert parameters("lenet5") == by_hand


def test_the_parameter_counts_with_the_original_heads():
    """Those of torchvision's table and of Keras' summary, which counts running statistics too."""
    of_two, of_1000 = 1280 * 2 + 2, 1280 * 1000 + 1000
    assert parameters("mobilenet_v2") - of_two + of_1000 == 3_504_872
    with torch.device("meta"):
        network = ResNet50V2(outputs=1000)
    running = [buffer for name, buffer in network.named_buffers() if "running" in name]
    assert sum(tensor.numel() for tensor in (*network.parameters(), *running)) == 25_613_800


def test_npr_has_the_numbers_of_its_authors_checkpoint():
    network = build_architecture("npr")
    assert sum(tensor.numel() for tensor in network.parameters()) == 1_437_761
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == 1_447_897


def test_the_convolutions_of_the_growing_kernels():
    for count in (4, 5):
        network = build_architecture("growing_kernel_cnn", convolutions=count)
        found = [(m.out_channels, m.kernel_size[0]) for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert found == [(32, 2), (64, 3), (128, 4), (256, 5), (512, 6)][:count]


@pytest.mark.parametrize("name", sorted({*architecture_names()} - {"hog_svm"}))
def test_every_architecture_takes_its_own_input(name):
    height, width = default_input_size(name) or (300, 200)
    with torch.device("meta"):
        network = build_architecture(name).eval()
        assert network(torch.empty(2, 3, height, width)).shape == (2, 2)


@pytest.mark.parametrize("name", architecture_names())
def test_the_gradient_of_every_architecture_reaches_the_pixels(name):
    pixels = to_pixels(pictures(name, 2)).requires_grad_()
    logits = small(name)(pixels)
    assert logits.shape == (2, 2)
    (logits[:, 1] - logits[:, 0]).sum().backward()
    assert pixels.grad.isfinite().all()
    assert (pixels.grad != 0).float().mean() > 0.5


@pytest.mark.parametrize(
    ("name", "attack"), [*((name, "pgd") for name in architecture_names()), ("hog_svm", "square")]
)
def test_every_architecture_is_attacked(name, attack):
    """Against fakes and reals alike: the margin moves towards the wrong verdict, inside the budget."""
    detector, levels = small(name), pictures(name)
    labels = torch.arange(len(levels)) % 2
    recipe = shipped_recipes()[attack]
    given = {"steps": 3, "random_start": False} if attack == "pgd" else {"steps": 60}
    bound = make_stage(recipe, {"eps": 8 / 255, **given})
    names = tuple(str(number) for number in range(len(levels)))
    task = make_task(
        bound, detector, levels, labels, SampleStreams(42, names, 0), threshold=HALF, early_stop=False,
        batch_size=len(levels), device=torch.device("cpu"), precision="fp32",
    )  # fmt: skip
    outcome = run_attack(bound, task, lambda _: None)
    with torch.no_grad():
        before, after = detector(to_pixels(levels)), detector(to_pixels(outcome.levels))
    moved = (after - before)[:, 1] - (after - before)[:, 0]
    towards_wrong = torch.where(labels == 1, -moved, moved)
    assert (towards_wrong > 0).all()
    assert 0 < outcome.linf.max() <= 8 / 255 + 1e-6


def test_the_frozen_backbone_stays_in_evaluation_mode():
    network = build_architecture("resnet50_frozen").train()
    assert network.head.training
    assert not any(module.training for module in network.backbone.modules())
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    thawed = build_architecture("resnet50_frozen", frozen=False).train()
    assert thawed.backbone.training
    assert all(parameter.requires_grad for parameter in thawed.parameters())


def test_the_sigmoid_of_study_b_says_real():
    """Its 0 is AI and its 1 real: a large positive output is a real image."""
    network = build_architecture("resnet50_frozen").eval()
    last = network.head[0][-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 3.0)
    logits = network(torch.zeros(1, 3, 32, 32))
    assert logits.softmax(dim=1)[0, 0].item() == pytest.approx(torch.tensor(3.0).sigmoid().item())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifake_cnn", {"input_size": 33}, "a multiple of 8"),
        ("clip_probe", {"input_size": 30}, "multiple of 16"),
        ("efficientnet_lite", {"size": 3}, "0, 1 or 2"),
        ("shoes_cnn", {"input_size": 35}, "at least 36"),
        ("wide_kernel_cnn", {"input_size": 20}, "multiple of 16"),
        ("growing_kernel_cnn", {"convolutions": 3}, "4 or 5"),
        ("growing_kernel_cnn", {"convolutions": 5, "input_size": 100}, "too small"),
        ("deit_bottleneck", {"variant": "huge"}, "tiny, small or base"),
        ("deit_bottleneck", {"input_size": 30}, "multiple of 16"),
        ("hog_svm", {"input_size": 16}, "hold no block"),
        ("resnet18_svm", {"support_vectors": 0}, "at least 1"),
        ("lenet5", {"width": 3}, "unexpected keyword"),
    ],
)
def test_an_option_that_does_not_fit_is_told(name, options, message):
    with pytest.raises(UserError, match=message):
        build_architecture(name, **options)


@pytest.mark.parametrize("name", architecture_names())
def test_grad_cam_finds_a_layer_of_every_architecture(name):
    """Small inputs leave one position behind deep layers, so that an earlier layer is found."""
    pixels = to_pixels(pictures(name, 2))
    if name == "hog_svm":
        with pytest.raises(UserError, match="hog_svm has no layer whose output is laid out over the image"):
            target_layer(small(name), pixels)
        return
    found = target_layer(small(name), pixels)
    assert found.reaches
    assert min(found.grid) >= 2
    known = {
        "cifake_cnn": "features", "clip_probe": "backbone.transformer.blocks.1.norm1", "resnet18": "layer3",
        "deit_bottleneck": "backbone.blocks.11.norm1", "ferretnet_s": "local.body", "lenet5": "features",
    }  # fmt: skip
    assert known.get(name, found.name) == found.name
