"""Total-variation denoising in front of the detector, under ``torch.no_grad``.

Guo et al. 2018, Countering Adversarial Images using Input Transformations (ICLR, arXiv:1711.00117), with the denoising of
Chambolle 2004. Broken by Athalye, Carlini and Wagner 2018, Obfuscated Gradients Give a False Sense of Security.
"""

import torch
from torch import Tensor, nn

from benchmarks.defences.base import base_detector, inside, train_behind
from benchmarks.defences.defence import Defence
from benchmarks.defences.descent import descend
from robustbench_aigen import Detector

WEIGHT, ITERATIONS = 0.03, 15


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Return the divergence of a field, N×3×H×W, that is zero in its last row and in its last column."""
    return (
        down - torch.nn.functional.pad(down, (0, 0, 1, 0))[:, :, :-1]
        + right - torch.nn.functional.pad(right, (1, 0))[..., :-1]
    )  # fmt: skip


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return forward differences of N×3×H×W images, zero at the end."""
    down = torch.nn.functional.pad(image[:, :, 1:] - image[:, :, :-1], (0, 0, 0, 1))
    right = torch.nn.functional.pad(image[..., 1:] - image[..., :-1], (0, 1))
    return down, right


def chambolle(image: Tensor, weight: float, iterations: int) -> Tensor:
    """Return denoised N×3×H×W images (Chambolle 2004, an algorithm for total variation minimization, section 3)."""
    down = right = torch.zeros_like(image)
    for _ in range(iterations):
        step_down, step_right = _gradient(_divergence(down, right) - image / weight)
        length = (step_down**2 + step_right**2 + 1e-12).sqrt()
        down = (down + 0.25 * step_down) / (1 + 0.25 * length)
        right = (right + 0.25 * step_right) / (1 + 0.25 * length)
    return image - weight * _divergence(down, right)


class TotalVariationDefence(nn.Module):
    """Denoises, then detects."""

    def __init__(self) -> None:
        super().__init__()
        self.base = base_detector("total_variation")

    def forward(self, x: Tensor) -> Tensor:
        """Return N×2 logits."""
        with torch.no_grad():
            x = chambolle(x, WEIGHT, ITERATIONS).clamp(0, 1)
        return self.base(x)


def build() -> Detector:
    """Return the defended detector."""
    return Detector(TotalVariationDefence(), name="total_variation")


def train() -> None:
    """Train the detector behind the denoising."""
    defended = TotalVariationDefence()
    train_behind("total_variation", defended, defended.base)


def attack(detector: Detector, clean: Tensor, labels: Tensor) -> Tensor:
    """Differentiate the iterations of the denoising."""
    network = inside(detector)
    return descend(
        detector,
        lambda pixels: network.base(chambolle(pixels, WEIGHT, ITERATIONS).clamp(0, 1)),
        clean,
        labels,
    )


DEFENCE = Defence(
    "total_variation", "Guo et al. 2018", "Athalye et al. 2018", "scores",
    is_random=False, build=build, attack=attack,
)  # fmt: skip
