"""What an epoch is said to have come to is counted exactly, in reduced precision too."""

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch.nn import functional

from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.training.module import TrainedNetwork
from robustbench_aigen.training.recipe import Settings


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("enabled", [False, True])
def test_figures_are_those_of_all_images(balance, enabled):
    torch.manual_seed(0)
    settings = Settings(arch="lenet5", balance=balance)
    trained = TrainedNetwork(build_architecture("lenet5"), settings, steps=1).eval()
    levels = torch.randint(0, 256, (2100, 3, 32, 32), dtype=torch.uint8)
    labels = (torch.arange(2100) % 3 == 0).long()  # 700 of one class, 1,400 of the other.
    logits = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        trained.on_validation_epoch_start()
        for part, truth in zip(levels.split(300), labels.split(300), strict=True):
            trained.validation_step((part, truth), 0)
            logits.append(trained(part.float() / 255).float())
    found = torch.cat(logits)
    loss, accuracy = trained._figures("val")
    expected = (balanced_accuracy_score if balance else accuracy_score)(labels, found.argmax(1))
    assert accuracy == pytest.approx(expected, abs=1e-6)
    losses = functional.cross_entropy(found, labels, reduction="none")
    means = [losses[labels == label].mean() for label in (0, 1)] if balance else [losses.mean()]
    assert loss == pytest.approx(float(sum(means) / len(means)), rel=1e-5)
