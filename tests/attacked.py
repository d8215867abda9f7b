"""What the tests of foreign detectors have in common: pictures, and the attack that their gradients allow."""

import pytest
import torch
from test_native_attacks import silent, stage, task

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.detectors.contract import Detector, scores
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_pixels


def levels(count: int = 6, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).to(torch.uint8)


def score_of(detector: Detector, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return scores(detector(to_pixels(images)))


def attacked_margin(detector: Detector, attack: str, images: torch.Tensor, **given) -> float:
    """How far an attack moves the mean score of fakes towards real, in logits."""
    bound = stage(attack, eps=16 / 255, **given)
    labels = torch.ones(len(images), dtype=torch.long)
    # Every image is a fake that is recognised: nothing is finished before the attack begins.
    made = task(detector, bound, levels=images, labels=labels, threshold=1e-30, batch_size=len(images))
    after = run_attack(bound, made, silent).levels
    with torch.no_grad():
        before, now = (detector(to_pixels(each)) for each in (images, after))
    return float(((before[:, 1] - before[:, 0]) - (now[:, 1] - now[:, 0])).mean())


def is_attacked_with_gradients(detector: Detector, images: torch.Tensor) -> bool:
    assert detector.differentiable
    return attacked_margin(detector, "pgd", images, steps=3) > 0


def is_attacked_without_gradients(detector: Detector, images: torch.Tensor) -> bool:
    """Square works, and PGD refuses in one sentence that names what to take instead."""
    assert not detector.differentiable
    with pytest.raises(UserError, match="needs gradients") as refused:
        attacked_margin(detector, "pgd", images, steps=1)
    assert "square" in str(refused.value)
    assert "surrogate" in str(refused.value)
    return attacked_margin(detector, "square", images, steps=30) > 0
