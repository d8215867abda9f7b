"""The eight-convolution CNN of study C, at 256×256."""

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC

INPUT_SIZE = (256, 256)
NORMALISATION = SYMMETRIC

_STACK = ((7, 32, True), (5, 64, False), (5, 128, True), (3, 256, False), (3, 362, True),
          (1, 512, False), (1, 724, False), (1, 1024, True))  # fmt: skip
"""Kernel, filters, and whether max pooling follows."""


class WideKernelCNN(nn.Module):
    """Eight convolutions from 7×7 down to 1×1, each with batch norm and ReLU, four of them pooled; dense 724, 516, 2.

    Sidiropoulos, "AI Generated vs Real Images Classification", study C. 193 M parameters at 256×256, nearly all in
    the first dense layer; that figure needs convolutions that keep the size, so they are padded.

    Parameters
    ----------
    input_size
        Side of the square input in pixels, a multiple of 16.
    """

    def __init__(self, input_size: int = 256) -> None:
        super().__init__()
        if input_size < 16 or input_size % 16:
            raise ValueError(f"input_size must be a positive multiple of 16, not {input_size}")
        layers: list[nn.Module] = []
        channels = 3
        for kernel, filters, pooled in _STACK:
            layers += [
                nn.Conv2d(channels, filters, kernel, padding=kernel // 2),
                nn.BatchNorm2d(filters),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool2d(2)] if pooled else []
            channels = filters
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * (input_size // 16) ** 2, 724),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(724, 516),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(516, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×input_size×input_size images to N×2 logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(input_size: int = 256) -> nn.Module:
    """Build the CNN for a square input of ``input_size`` pixels."""
    return WideKernelCNN(input_size)
