"""L1 budgets: the projection against a quadratic program, 8-bit rounding, and APGD against adv-lib's."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from robustbench_aigen import attacks, load_detector
from robustbench_aigen.attacks.l1_ball import project_l1, sparse_direction
from robustbench_aigen.attacks.threat_model import ThreatModel, level_distance
from robustbench_aigen.data.opening import open_source
from robustbench_aigen.data.selection import select
from robustbench_aigen.numerics.decoding import decode


def solved(clean: np.ndarray, wanted: np.ndarray, eps: float) -> np.ndarray:
    """The nearest perturbation in ball and box, by SLSQP over its positive and negative parts."""
    size = len(clean)

    def distance(parts):
        difference = parts[:size] - parts[size:] - wanted
        return (difference**2).sum(), np.concatenate([2 * difference, -2 * difference])

    length = {"type": "ineq", "fun": lambda parts: eps - parts.sum(), "jac": lambda parts: -np.ones(2 * size)}
    found = minimize(
        distance, np.zeros(2 * size), jac=True, method="SLSQP", constraints=[length],
        bounds=[(0, 1 - value) for value in clean] + [(0, value) for value in clean],
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    return found.x[:size] - found.x[size:]


@pytest.mark.parametrize("eps", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
def test_the_projection_is_that_of_a_quadratic_program(eps, scale):
    random = np.random.default_rng(int(1000 * eps * scale))
    clean = random.uniform(size=(3, 3, 2, 2)).round(1)  # Black and white among them.
    wanted = random.normal(size=clean.shape) * scale
    found = project_l1(torch.tensor(clean), torch.tensor(wanted), eps)
    for one, other, result in zip(clean, wanted, found.numpy(), strict=True):
        expected = solved(one.ravel(), other.ravel(), eps)
        assert np.abs(result.ravel() - expected).max() < 1e-5
        assert np.abs(result).sum() <= eps + 1e-9


def test_what_is_inside_stays_and_ties_are_shared():
    clean = torch.full((1, 3, 1, 2), 0.5)
    inside = torch.full_like(clean, 0.1)
    assert torch.allclose(project_l1(clean, inside, 1.0), inside)
    assert torch.allclose(project_l1(clean, torch.full_like(clean, 5.0), 1.2), torch.full_like(clean, 0.2))


def test_a_sparse_step_moves_the_largest_slopes():
    gradient = torch.arange(-50.0, 50.0).view(1, 1, 10, 10).repeat(2, 1, 1, 1)
    step = sparse_direction(gradient, torch.tensor([0.1, 0.0]))
    assert step.abs().sum(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert (step != 0).sum(dim=(1, 2, 3)).tolist() == [11, 1]
    assert (step[0][gradient[0].abs() < 45] == 0).all()
    assert sparse_direction(torch.zeros(1, 3, 2, 2), torch.tensor([0.5])).abs().sum() == 0


def test_rounding_keeps_the_budget_and_the_nearest_levels():
    random = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (4, 3, 8, 8), generator=random, dtype=torch.uint8)
    threat = ThreatModel("l1", 1.0)
    pixels = threat.project(levels / 255, levels / 255 + torch.randn(levels.shape, generator=random) / 50)
    rounded = threat.round(levels, pixels)
    assert (level_distance("l1", levels, rounded) <= 1.0).all()
    # 255 levels are to be had, and the float perturbation is a whole budget long.
    assert (level_distance("l1", levels, rounded) > 0.9).any()
    assert ((rounded.int() - 255 * pixels).abs() < 1.5).all()


@pytest.mark.filterwarnings("ignore")
def test_apgd_is_as_strong_as_that_of_adv_lib(tmp_path):
    pytest.importorskip("adv_lib")
    selection = select(open_source("minigen", tmp_path), "test", 48)
    levels = torch.stack([decode(selection.source.encoded(index)) for index in selection.indices])
    labels = torch.tensor([sample.label for sample in selection.samples])
    detector = load_detector("minigen/lenet5")
    own, other = (
        attacks.apgd(norm="l1", eps=1, backend=backend, steps=steps)(detector, levels, labels)
        for backend, steps in (
            ("native", 30),
            ("adv_lib", 45),
        )  # As many gradients: half are in wider budgets.
    )
    assert 0.3 < float(own.success.float().mean()) < 0.95
    assert int(own.success.sum()) >= int(other.success.sum()) - 2
