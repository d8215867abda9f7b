"""Budgets, and the 8-bit image that keeps them."""

import itertools

import numpy as np
import pytest
import torch

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels


def pictures(count: int, seed: int = 0, side: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


def wander(clean: torch.Tensor, seed: int, size: float) -> torch.Tensor:
    return to_pixels(clean) + size * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.1 / 255, 1 / 255, 1.5 / 255, 8 / 255, 0.25, 1.0])
@pytest.mark.parametrize("spread", [0.001, 0.05, 0.5])
def test_the_8_bit_image_of_a_projected_one_keeps_the_budget(norm, eps, spread):
    threat, clean = ThreatModel(norm, eps), pictures(16)
    projected = threat.project(to_pixels(clean), wander(clean, 1, spread))
    assert threat.holds(to_pixels(clean), projected).all()
    difference = threat.round(clean, projected).double().sub(clean.double()).flatten(1).numpy() / 255
    length = np.abs(difference).max(axis=1) if norm == "linf" else np.sqrt((difference**2).sum(axis=1))
    assert (length <= eps * (1 + 1e-6)).all()


def test_whole_levels_of_linf_survive_rounding_unchanged():
    clean = pictures(4)
    steps = torch.randint(-4, 5, clean.shape, generator=torch.Generator().manual_seed(3))
    wanted = (clean.int() + steps).clamp(0, 255).to(torch.uint8)
    assert torch.equal(ThreatModel("linf", 4 / 255).round(clean, to_pixels(wanted)), wanted)


def test_a_fractional_linf_budget_is_floored_to_whole_levels_and_says_so():
    threat = ThreatModel("linf", 2.7 / 255)
    clean = torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)
    rounded = threat.round(clean, to_pixels(clean) + 2.7 / 255)
    assert rounded.unique().tolist() == [102]
    assert threat.is_floored
    assert not ThreatModel("linf", 4 / 255).is_floored


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", [0.5, 1, 1.5, 2, 2.99]), ("l2", [0.9, 1, 1.3, 1.42, 1.5, 2])]
)
def test_the_reach_tells_which_8_bit_images_are_inside(norm, eps):
    """Every 8-bit perturbation of three values is tried."""
    steps = torch.cartesian_prod(*[torch.arange(-3.0, 4)] * 3)
    length = steps.abs().amax(dim=1) if norm == "linf" else steps.norm(dim=1)
    inside = {value: int((length <= value + 1e-6).sum()) for value in eps}
    reach = {value: ThreatModel(norm, value / 255).reach for value in eps}
    for one in eps:
        assert (reach[one] == 0) == (inside[one] == 1)
        for other in eps:
            assert (reach[one] == reach[other]) == (inside[one] == inside[other])


def test_the_reach_of_positions_is_their_number():
    assert ThreatModel("l0", 3).reach == 3
    assert ThreatModel("spatial", 0).reach is None


def test_l2_rounding_is_as_near_to_the_float_perturbation_as_brute_force_on_four_values():
    """Every 8-bit perturbation within one level of the float one is tried; ours is the nearest, or all but."""
    generator = torch.Generator().manual_seed(5)
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    for _ in range(30):
        eps = 3 / 255
        direction = torch.randn((1, 1, 2, 2), generator=generator)
        wanted = eps * direction / direction.norm()
        ours = ThreatModel("l2", eps).round(clean, to_pixels(clean) + wanted).int().flatten() - 100
        floats = (wanted * 255).flatten()
        candidates = [
            torch.tensor(levels)
            for levels in itertools.product(*[range(int(f.floor()) - 1, int(f.ceil()) + 2) for f in floats])
        ]
        inside = [c for c in candidates if (c.double() ** 2).sum() <= (eps * 255) ** 2 * (1 + 1e-6)]
        best = min(float((c - floats).norm()) for c in inside)
        assert float((ours - floats).norm()) <= best + 0.35


def test_levels_are_rounded_not_truncated():
    assert to_levels(torch.tensor([0.9 / 255, 254.6 / 255, -0.1, 1.2])).tolist() == [1, 255, 0, 255]


def test_projection_on_l2_is_the_closed_form():
    clean, far = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 0.6)
    delta = ThreatModel("l2", 0.1).project(clean, far) - clean
    assert torch.allclose(delta, torch.full_like(delta, 0.1 / 12**0.5), atol=1e-7)
