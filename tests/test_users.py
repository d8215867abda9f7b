"""Users of other libraries do their usual five lines with public names alone."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from robustbench_aigen import (
    Detector,
    ImageData,
    attacks,
    benchmark,
    evaluate,
    interop,
    list_detectors,
    load_detector,
)

EPS = 4 / 255


@pytest.fixture
def images():
    return torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def between(images):
    """A shipped detector whose threshold lies between the scores of the images."""
    detector = load_detector("minigen/lenet5")
    return detector.with_threshold(float(detector.scores(images).median()))


def test_a_user_of_torchattacks(images):
    """torchattacks: ``atk = torchattacks.PGD(model, eps=4/255); adv = atk(images, labels)``."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.Flatten(), nn.Linear(256, 2))
    labels = model(images).argmax(1)
    atk = attacks.pgd(eps=EPS, steps=10)
    adv = atk(model, images, labels).images
    assert float((model(adv).argmax(1) == labels).float().mean()) < 1
    assert adv.shape == images.shape
    assert float((adv - (images * 255).round() / 255).abs().max()) <= EPS + 1e-6


def test_a_user_of_torchattacks_keeps_the_library(images):
    torchattacks = pytest.importorskip("torchattacks")
    detector = between(images)
    labels = detector.predict(images)
    atk = torchattacks.PGD(interop.as_torchattacks(detector), eps=EPS, steps=3)
    adv = atk(images, labels)
    assert (detector.predict(adv) != labels).any()


def test_a_user_of_foolbox(images):
    """foolbox: ``raw, clipped, is_adv = attack(fmodel, images, labels, epsilons=epsilons)``."""
    detector = between(images)
    labels = detector.predict(images)
    epsilons = [0.5 / 255, 1 / 255, 4 / 255]
    results = [one(detector, images, labels) for one in attacks.pgd(eps=epsilons).expand()]
    clipped = [result.images for result in results]
    is_adv = torch.stack([result.success for result in results])
    assert is_adv.shape == (3, 16)
    assert not is_adv[0].any()  # Less than a level is the image itself.
    assert 0 < int(is_adv[1].sum()) <= int(is_adv[2].sum())
    for adversarial, eps, success in zip(clipped[1:], epsilons[1:], is_adv[1:], strict=True):
        assert float((adversarial - (images * 255).round() / 255).abs().max()) <= eps + 1e-6
        assert torch.equal(detector.predict(adversarial) != labels, success)


def test_a_user_of_foolbox_keeps_the_library(images):
    foolbox = pytest.importorskip("foolbox")
    detector = between(images)
    labels = detector.predict(images)
    fmodel, attack = interop.as_foolbox(detector), foolbox.attacks.LinfPGD(steps=3)
    assert foolbox.accuracy(fmodel, images, labels) == 1
    _raw, _clipped, is_adv = attack(fmodel, images, labels, epsilons=[EPS])
    ours = interop.from_foolbox(attack, eps=EPS)(detector, images, labels)
    assert int(ours.success.sum()) == pytest.approx(int(is_adv.sum()), abs=2)


def test_a_user_of_robustbench():
    """RobustBench: ``model = load_model(name); clean, robust = benchmark(model, dataset, threat_model)``."""
    model = load_detector("minigen/lenet5")
    assert model.name in list_detectors("minigen/*")
    run = benchmark(model, "quick", limit=20)
    clean, robust = run.accuracy(), run.worst_case("*linf*")
    assert 0 <= robust < clean <= 1


def test_a_user_of_timm(images):
    timm = pytest.importorskip("timm")
    model = timm.create_model(
        "test_resnet.r160_in1k",
        pretrained=False,
        num_classes=2,
        pretrained_cfg_overlay={"input_size": (3, 32, 32)},
    )
    config = timm.data.resolve_model_data_config(model)
    detector = Detector(
        model, mean=config["mean"], std=config["std"], input_size=config["input_size"][1:], name="timm"
    )
    run = evaluate(detector, (images, [0, 1] * 8), {"pgd": attacks.pgd(eps=EPS, steps=3)})
    expected = model.eval()(timm_transform(images, config)).argmax(1)
    assert run.accuracy() == pytest.approx(float((expected == torch.tensor([0, 1] * 8)).float().mean()))
    assert run.accuracy("pgd") <= run.accuracy()
    assert run.detectors == ["timm"]


def timm_transform(images, config):
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return ((images * 255).round() / 255 - mean) / std


def test_benchmark_is_frozen_and_says_what_it_is(tmp_path):
    data = ImageData.open("minigen", limit=20)
    run = benchmark("minigen/lenet5", "quick", limit=20, output=tmp_path)
    assert run.info.scenario.name == "quick_v1-limit20"
    assert run.info.data.images == len(data)
    assert run.folder.parent.name == "quick_v1-limit20"
    again = benchmark("minigen/lenet5", "quick_v1", limit=20)
    assert (again.summary["accuracy"] == run.summary["accuracy"]).all()


def test_only_public_names_are_used_here():
    imported = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(Path(__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    ours = {module for module, _ in imported if module.startswith("robustbench_aigen")}
    assert ours == {"robustbench_aigen"}
    import robustbench_aigen

    names = {name for module, name in imported if module == "robustbench_aigen"}
    assert names <= {*robustbench_aigen.__all__}
