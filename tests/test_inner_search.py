"""The inner search of adversarial training, and the detector that it follows."""

import pytest
import torch
import torchattacks
from test_searches import detector_of, trained_resnet
from torch import nn
from torch.nn import functional

from robustbench_aigen.attacks.threat_model import ThreatModel, l2_norm
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.folding import Affine
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.rewriting import UnshuffledConvolution
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.errors import UserError
from robustbench_aigen.training.adversarial.file import Method
from robustbench_aigen.training.adversarial.objective import Objective
from robustbench_aigen.training.adversarial.search import (
    ascend,
    batch_statistics,
    start_in_budget,
    start_nearby,
)


def in_training(arch: str) -> Detector:
    """A detector whose batch norms have seen something, its weights free."""
    torch.manual_seed(3)
    network = trained_resnet() if arch == "resnet18" else build_architecture(arch)
    size = (64, 64) if arch == "resnet18" else (32, 32)
    detector = (
        detector_of(network)
        if arch == "resnet18"
        else Detector.assembled(
            network,
            Preprocessing(size, (0.5,) * 3, (0.5,) * 3),
            name=arch,
            architecture=arch,
            weights_sha256="0",
        )
    )
    detector.requires_grad_(True)
    return detector


def batch(size: int = 32, count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((count, 3, size, size), generator=generator), torch.arange(count) % 2


@pytest.mark.parametrize("arch", ["lenet5", "cifake_cnn", "resnet18"])
def test_folded_weights_follow_an_optimiser_step(arch):
    detector = in_training(arch)
    following = FollowingDetector(detector, "bf16")
    following.prepared.network.precision = "fp32"
    if arch == "resnet18":
        assert any(isinstance(module, UnshuffledConvolution) for module in following.prepared.modules())
    if arch != "lenet5":
        assert not any(isinstance(module, nn.BatchNorm2d) for module in following.prepared.modules())
    pixels, labels = batch(detector.preprocessing.input_size[0])
    optimizer = torch.optim.SGD(detector.network.parameters(), lr=0.01)
    before = following.refresh()(pixels)
    for _ in range(2):
        detector.train()
        functional.cross_entropy(detector(pixels), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        detector.eval()
        plain = detector(pixels)
        assert (following.refresh()(pixels) - plain).abs().max() <= 1e-4
        detector.train()
        assert (
            following.prepared(pixels) - plain
        ).abs().max() <= 1e-4  # In evaluation mode whatever the other is in.
    assert (before - plain).abs().max() > 1e-3


def test_a_scale_that_turns_negative_in_training_is_no_longer_taken_through_max_pooling():
    detector = in_training("cifake_cnn")
    following = FollowingDetector(detector, "bf16")
    following.prepared.network.precision = "fp32"
    pixels, _ = batch()
    with torch.no_grad():
        for norm in (module for module in detector.network.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.weight[::3] *= -1
    assert (following.refresh()(pixels) - detector(pixels)).abs().max() <= 1e-4
    absorbed = [module.is_absorbed for module in following.prepared.modules() if isinstance(module, Affine)]
    assert True in absorbed
    assert False in absorbed


def test_the_search_is_torchattacks_pgd():
    detector = in_training("cifake_cnn").eval()
    pixels, labels = batch()
    threat = ThreatModel("linf", 4 / 255)
    found = ascend(
        detector, threat, pixels, pixels, lambda z: functional.cross_entropy(z, labels, reduction="sum"), steps=5, step_size=1 / 255
    )  # fmt: skip
    theirs = torchattacks.PGD(detector, eps=4 / 255, alpha=1 / 255, steps=5, random_start=False)(
        pixels, labels
    )
    assert (
        (found - theirs).abs() > 1e-6
    ).float().mean() < 0.002  # Ties of the sign of an all but zero gradient.


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("method", "norms"), [("pgd", "eval"), ("trades", "eval"), ("fast", "eval"), ("fast", "train")]
)
def test_a_search_stays_inside_its_budget_and_leaves_the_weights_without_gradients(method, norms, norm):
    detector = in_training("cifake_cnn").train()
    statistics = {name: value.clone() for name, value in detector.network.named_buffers()}
    pixels, labels = batch()
    seen: list[torch.Tensor] = []
    eps = 2 / 255 if norm == "linf" else 0.25
    objective = Objective(
        Method(name=method, batch_norm=norms),
        ThreatModel(norm, 2 * eps),
        detector,
        FollowingDetector(detector, "fp32"),
    )

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return torch.zeros(len(inputs), 2, requires_grad=True)

    objective.loss(forward, pixels, labels, eps, torch.Generator().manual_seed(0))
    delta = seen[-1] - pixels
    size = delta.abs().amax() if norm == "linf" else l2_norm(delta).max()
    assert 0.5 * eps < size <= eps + 1e-6
    assert 0 <= seen[-1].min() <= seen[-1].max() <= 1
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert detector.training
    for name, value in detector.network.named_buffers():
        if "num_batches" not in name:
            assert torch.equal(value, statistics[name]), name


def test_batch_statistics_are_used_and_the_running_ones_kept():
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.Dropout(0.9)).eval()
    images = torch.randn(16, 3, 4, 4) * 5 + 2
    with batch_statistics(network):
        inside = network(images)
    assert torch.allclose(inside.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.track_running_stats
    assert not network.training
    assert torch.equal(network(images), norm(images))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_budget(norm):
    clean = torch.full((400, 3, 8, 8), 0.5)
    eps = 4 / 255
    start = start_in_budget(clean, ThreatModel(norm, eps), torch.Generator().manual_seed(0)) - clean
    if norm == "linf":
        assert start.abs().max() <= eps + 1e-7
        assert abs(float(start.std()) - eps / 3**0.5) < 0.02 * eps
    else:
        length = l2_norm(start)
        assert length.max() <= eps + 1e-7
        assert abs(float(length.mean()) - eps / 2) < 0.05 * eps
    near = start_nearby(clean, torch.Generator().manual_seed(0)) - clean
    assert abs(float(near.std()) - 0.001) < 5e-5


def test_the_loss_of_trades_is_its_formula():
    detector = in_training("lenet5").train()
    pixels, labels = batch()
    objective = Objective(
        Method(name="trades", beta=3, steps=2),
        ThreatModel("linf", 2 / 255),
        detector,
        FollowingDetector(detector, "fp32"),
    )
    seen = []

    def forward(inputs):
        seen.append(detector(inputs))
        return seen[-1]

    loss, _ = objective.loss(forward, pixels, labels, 2 / 255, torch.Generator().manual_seed(0))
    clean, attacked = (logits.softmax(dim=1).double() for logits in seen)
    natural = -clean[torch.arange(len(labels)), labels].log().mean()
    divergence = (clean * (clean / attacked).log()).sum(dim=1).mean()
    assert abs(float((loss - natural - 3 * divergence).detach())) < 1e-5
    assert divergence > 0


METHODS = [
    ("pgd", {"steps": 2}), ("pgd", {"steps": 2, "clean_share": 0.5}), ("trades", {"steps": 2}), ("fast", {}), ("standard", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "given"), METHODS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_differentiated_is_the_loss_in_plain_torch(method, given, smoothing):
    """On the images that the search found; the search itself is compared with torchattacks above."""
    detector = in_training("lenet5").train()
    pixels, labels = batch()
    threat = ThreatModel("linf", 1 / 255)
    objective = Objective(
        Method(name=method, **given), threat, detector, FollowingDetector(detector, "fp32"), smoothing
    )
    seen = []

    def forward(inputs):
        seen.append(inputs)
        return detector(inputs)

    loss, logits = objective.loss(forward, pixels, labels, threat.eps, torch.Generator().manual_seed(0))
    target = torch.full((len(labels), 2), smoothing / 2)
    target[torch.arange(len(labels)), labels] += 1 - smoothing
    answers = [detector(inputs).log_softmax(dim=1) for inputs in seen]
    plain = -(target * answers[0]).sum(dim=1).mean()
    if method == "trades":
        clean, attacked = answers
        plain = plain + objective.method.beta * (clean.exp() * (clean - attacked)).sum(dim=1).mean()
    assert torch.allclose(loss, plain, atol=1e-6)
    assert torch.allclose(logits.log_softmax(dim=1), answers[-1], atol=1e-6)
    weights = list(detector.network.parameters())
    ours, theirs = (torch.autograd.grad(value, weights) for value in (loss, plain))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert any(each.any() for each in ours)


class Logistic(nn.Module):
    """A linear detector: what an L∞ search finds is known, and the loss against it is convex."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3 * 8 * 8, generator=torch.Generator().manual_seed(1)) / 8)

    def forward(self, x):
        z = x.flatten(1) @ self.weight
        return torch.stack([-z / 2, z / 2], dim=1)


@pytest.mark.parametrize(
    ("method", "given", "share"),
    [("pgd", {"steps": 4}, 0), ("pgd", {"steps": 4, "clean_share": 0.25}, 0.25), ("standard", {}, 1)],
)
def test_steps_down_the_gradient_lower_the_loss_of_a_linear_detector(method, given, share):
    """Shorter than the inverse of the curvature, a quarter of the squared length of an image, as theory has it."""
    network, eps = Logistic(), 2 / 255
    detector = Detector.assembled(
        network, Preprocessing(), name="linear", architecture="none", weights_sha256="0"
    )
    detector.requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    # Away from 0 and 1, where the box would cut the budget.
    pixels, labels = 0.2 + 0.6 * torch.rand((8, 3, 8, 8), generator=generator), torch.arange(8) % 2
    objective = Objective(
        Method(name=method, **given), ThreatModel("linf", eps), detector, FollowingDetector(detector, "fp32")
    )
    sign = (2 * labels - 1).double()
    searched = (torch.arange(8) >= round(share * 8)).double()
    losses = []
    for step in range(10):
        start = torch.Generator().manual_seed(step)
        loss, _ = objective.loss(detector, pixels, labels, eps, start)
        weight = network.weight.detach().double()
        margin = sign * (pixels.flatten(1).double() @ weight) - searched * eps * weight.abs().sum()
        assert float(loss.detach()) == pytest.approx(float(functional.softplus(-margin).mean()), abs=1e-5)
        losses.append(float(functional.softplus(-margin).mean()))
        (gradient,) = torch.autograd.grad(loss, network.weight)
        with torch.no_grad():
            network.weight -= gradient / float((pixels.flatten(1).norm(dim=1) + 1).square().max() / 4)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_a_share_of_the_batch_stays_clean():
    detector = in_training("lenet5").train()
    pixels, labels = batch()
    objective = Objective(
        Method(name="pgd", steps=1, clean_share=0.25),
        ThreatModel("linf", 1 / 255),
        detector,
        FollowingDetector(detector, "fp32"),
    )
    seen = []

    def forward(inputs):
        seen.append(inputs)
        return detector(inputs)

    objective.loss(forward, pixels, labels, 1 / 255, torch.Generator())
    changed = (seen[0] - pixels).abs().amax(dim=(1, 2, 3)) > 0
    assert changed.tolist() == [False] * 2 + [True] * 6


def test_a_detector_that_hides_its_input_cannot_be_searched():
    pixels, _ = batch()

    class Hiding(nn.Module):
        def forward(self, x):
            return x.detach().flatten(1)[:, :2]

    with pytest.raises(UserError, match="has no gradient to the pixels"):
        ascend(Hiding(), ThreatModel("linf", 0.1), pixels, pixels, torch.sum, steps=1, step_size=0.1)
