"""Successes that rounding would lose: the search on the 8-bit grid against brute force and a linear detector."""

from itertools import product

import pytest
import torch
from test_native_attacks import pictures, silent, stage, task
from torch import nn

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.grid_search import round_along
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import Detector, Preprocessing
from robustbench_aigen.numerics.eight_bit import to_pixels

SIDE = 8


def gain(levels, clean, gradient) -> torch.Tensor:
    """Linearised margin won, in levels."""
    return ((levels.double() - clean.double()) * gradient.double()).flatten(1).sum(dim=1)


def length(levels, clean) -> torch.Tensor:
    return (levels.double() - clean.double()).flatten(1).norm(dim=1)


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_rounding_along_a_gradient_is_inside_the_budget_and_never_worse_than_plain(eps, spread):
    generator = torch.Generator().manual_seed(int(100 * eps))
    clean, threat = pictures(50, SIDE), ThreatModel("l2", eps)
    gradient = torch.randn((50, 3, SIDE, SIDE), generator=generator).sign() * torch.rand(
        (50, 3, SIDE, SIDE), generator=generator
    ).pow(spread)
    wanted = threat.project(to_pixels(clean), to_pixels(clean) + 10 * eps * gradient)
    ours, plain = round_along(threat, clean, wanted, gradient), threat.round(clean, wanted)
    assert (length(ours, clean) <= eps * 255 * (1 + 1e-6)).all()
    assert (gain(ours, clean, gradient) >= gain(plain, clean, gradient) - 1e-6).float().mean() >= 0.95
    assert gain(ours, clean, gradient).mean() >= gain(plain, clean, gradient).mean()


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.0, 3.3])
def test_brute_force_over_one_pixel_finds_nothing_much_better(budget):
    """Three channel values: every 8-bit image inside the budget, budget in levels."""
    generator = torch.Generator().manual_seed(2)
    threat = ThreatModel("l2", budget / 255)
    reach = range(-int(budget), int(budget) + 1)
    moves = torch.tensor([move for move in product(reach, repeat=3) if sum(m * m for m in move) <= budget**2])
    clean = torch.randint(0, 256, (60, 3, 1, 1), generator=generator).to(torch.uint8)
    clean[0], clean[1] = 0, 255
    gradient = torch.randn((60, 3, 1, 1), generator=generator)
    direction = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    wanted = (to_pixels(clean) + budget / 255 * direction).clamp(0, 1)
    found = round_along(threat, clean, wanted, gradient)
    plain = gain(threat.round(clean, wanted), clean, gradient)
    best = torch.empty(60, dtype=torch.double)
    for row in range(60):
        candidates = clean[row].flatten().int() + moves
        allowed = ((candidates >= 0) & (candidates <= 255)).all(dim=1)
        best[row] = (moves[allowed].double() @ gradient[row].flatten().double()).max()
    own = gain(found, clean, gradient)
    assert (own <= best + 1e-5).all()
    assert (own >= 0).all()
    # Greedy filling of a knapsack of three values, the hardest there is: seldom far from the best.
    assert own.sum() >= 0.85 * best.sum()
    assert own.sum() >= plain.sum()
    assert (own >= best - 1e-5).float().mean() >= 0.3


def test_a_level_that_the_perturbation_points_away_from_is_not_bought():
    """The gradient has turned: a value goes back to the clean one rather than on in the wrong direction."""
    clean = torch.full((1, 3, 1, 1), 100, dtype=torch.uint8)
    wanted = to_pixels(clean) + torch.tensor([-0.4, 0.4, 0.0]).view(1, 3, 1, 1) / 255
    gradient = torch.tensor([1.0, 0.5, -0.1]).view(1, 3, 1, 1)
    found = round_along(ThreatModel("l2", 1.42 / 255), clean, wanted, gradient)
    assert (found.int() - 100).flatten().tolist() == [1, 1, 0]


def test_linf_rounding_along_a_gradient_is_plain_rounding():
    clean, threat = pictures(4, SIDE), ThreatModel("linf", 2 / 255)
    wanted = threat.project(to_pixels(clean), to_pixels(clean) + 0.01 * torch.randn(4, 3, SIDE, SIDE))
    assert torch.equal(
        round_along(threat, clean, wanted, torch.randn(4, 3, SIDE, SIDE)), threat.round(clean, wanted)
    )


class Plane(nn.Module):
    """A linear network whose margin at given images is a given number."""

    def __init__(self, weight: torch.Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = nn.Parameter(weight), nn.Parameter(torch.tensor(offset))

    def forward(self, x):
        z = (x.double() * 255).flatten(1) @ self.weight.double() - self.offset.double()
        return torch.stack([torch.zeros_like(z), z], dim=1).float()


def plane(weight: torch.Tensor, offset: float) -> Detector:
    return Detector.assembled(
        Plane(weight, offset), Preprocessing(), name="plane", architecture="none", weights_sha256="0"
    )


def grey(count: int = 1) -> torch.Tensor:
    return torch.full((count, 3, SIDE, SIDE), 100, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("attack", "given"), [("pgd", {"steps": 20}), ("deepfool", {}), ("fab", {"steps": 20})]
)
def test_an_8_bit_image_that_plain_rounding_misses_is_found(attack, given):
    """Many small weights and a few larger: the float perturbation is below half a level in all values.

    Rounded it is the clean image. One level in each of the four heaviest values is inside the budget and enough.
    """
    weight = torch.full((3 * SIDE * SIDE,), 0.3)
    weight[:4] = 1.0
    budget = 2.0
    float_reach = budget * float(weight.norm())
    on_grid = 4.0
    assert float_reach > on_grid
    start = float(100 * weight.sum())
    detector = plane(weight, start + 3.9)
    bound = stage(attack, norm="l2", eps=budget / 255, **given)
    labels = torch.zeros(1, dtype=torch.long)
    for early_stop in (True, False):
        made = task(detector, bound, levels=grey(), labels=labels, early_stop=early_stop)
        outcome = run_attack(bound, made, silent)
        assert float(outcome.log_odds[0]) >= 0
        assert not outcome.correct_float[0]
        moved = (outcome.levels.int() - 100).flatten()
        assert (length(outcome.levels, grey()) <= budget + 1e-6).all()
        assert (moved.float() @ weight) >= 3.9
        direction = weight / weight.norm() * budget
        plain = made.threat.round(grey(), (100 + direction.view(1, 3, SIDE, SIDE)) / 255)
        assert gain(plain, grey(), weight.view(1, 3, SIDE, SIDE)) < 3.9


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("attack", ["pgd", "deepfool", "fab", "apgd"])
def test_nothing_is_found_that_the_budget_does_not_hold(attack, norm):
    """The best 8-bit image inside the budget is known; the boundary lies just beyond it."""
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(3 * SIDE * SIDE, generator=generator)
    weight[:3] = torch.tensor([9.0, -8.0, 7.0])
    # L2 of two levels: four values by one, or one value by two; L∞: every value by two.
    ordered = weight.abs().sort(descending=True).values
    best = float(2 * weight.abs().sum()) if norm == "linf" else float(max(ordered[:4].sum(), 2 * ordered[0]))
    bound = stage(attack, norm=norm, eps=2 / 255)
    start = float(100 * weight.double().sum())
    for beyond, is_fooled in ((0.05, False), (-0.05, True)):
        detector = plane(weight, start + best + beyond)
        made = task(detector, bound, levels=grey(), labels=torch.zeros(1, dtype=torch.long))
        outcome = run_attack(bound, made, silent)
        assert made.threat.holds(to_pixels(grey()), to_pixels(outcome.levels)).all()
        if norm == "linf" or not is_fooled:
            assert bool(outcome.log_odds[0] >= 0) == is_fooled
