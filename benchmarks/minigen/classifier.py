"""Two CIFAR-10 classifiers: one whose features measure the generators, another that helps to train them.

They are kept apart so that no generator is trained against the very features it is judged by.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.minigen.training import Recipe, restore, shift, to_signed

JUDGE = "classifier"
GUIDE = "guide"
FEATURES = 256


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=(size - 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W to the same shape."""
        result: Tensor = x + self.body(x)
        return result


class Judge(nn.Module):
    """Small ResNet; its 256 pooled activations before the last layer are the Fréchet features."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(3, 32),
            _convolution(32, 64, 4, 2),
            Residual(64),
            _convolution(64, 128, 4, 2),
            Residual(128),
            _convolution(128, FEATURES, 4, 2),
        )
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """N×3×32×32 in [-1, 1] to N×256."""
        result: Tensor = self.body(x).float().amax(dim=(2, 3))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Class logits N×10."""
        result: Tensor = self.head(self.features(x)) * 0.25
        return result


class Guide(nn.Module):
    """Plain convolutional classifier whose three stages serve as perceptual features."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_convolution(3, 32), _convolution(32, 48, 4, 2)),
                nn.Sequential(_convolution(48, 96, 4, 2), _convolution(96, 96)),
                _convolution(96, 192, 4, 2),
            ]
        )
        self.head = nn.Linear(192, 10)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps N×48×16×16, N×96×8×8, N×192×4×4 of images N×3×32×32 in [-1, 1]."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Class logits N×10."""
        result: Tensor = self.head(self.maps(x)[-1].float().mean(dim=(2, 3)))
        return result


NETWORKS: dict[str, type[Judge | Guide]] = {JUDGE: Judge, GUIDE: Guide}


def _one_cycle(share: float, peak: float = 0.2) -> float:
    return 0.1 + 0.9 * share / peak if share < peak else max(0.002, (1.0 - share) / (1.0 - peak))


def recipe(name: str) -> Recipe:
    """SGD with Nesterov momentum, label smoothing, one learning-rate cycle, flips and shifts."""
    net = NETWORKS[name]()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step(images: Tensor, labels: Tensor) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(images)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        return {"loss": loss.item(), "accuracy": (logits.argmax(1) == labels).float().mean().item()}

    return Recipe(
        name,
        {"net": net},
        {"net": optimizer},
        step,
        128,
        averaged=("net",),
        decay=0.99,
        lr_factor=_one_cycle,
        augment=shift,
    )


def load(work: Path, name: str) -> Judge | Guide:
    """A trained network in evaluation mode."""
    net = restore(work, name, "net", NETWORKS[name]())
    assert isinstance(net, Judge | Guide), name
    return net


@torch.inference_mode()
def accuracy(net: Judge | Guide, images: np.ndarray, labels: np.ndarray, batch: int = 500) -> float:
    """Share of uint8 N×32×32×3 images that get their own class."""
    right = 0
    for start in range(0, len(images), batch):
        logits = net(to_signed(images[start : start + batch]))
        right += int((logits.argmax(1).numpy() == labels[start : start + batch]).sum())
    return right / len(images)


@torch.inference_mode()
def features(net: Judge, images: np.ndarray, batch: int = 500) -> np.ndarray:
    """Penultimate features, float64 N×256, of uint8 N×32×32×3 images."""
    parts = [net.features(to_signed(images[i : i + batch])).numpy() for i in range(0, len(images), batch)]
    return np.concatenate(parts).astype(np.float64)
