"""The CNN of study E whose kernels grow with depth, at 224×224."""

from typing import Literal

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC

INPUT_SIZE = (224, 224)
NORMALISATION = SYMMETRIC


class GrowingKernelCNN(nn.Module):
    """Convolutions of 2×2, 3×3, 4×4, … with 32, 64, 128, … filters, ReLU and max pooling; dense 256, 128, 64, 2.

    Yu, Tanuwijaya, Liu & Liu (CUHK-Shenzhen DDA4210, 2024), study E. The study states both four and five
    convolutions, and neither the input size nor the padding: four are taken, unpadded as Keras does it, at the
    224×224 of the study's other two networks, where five fit too. Dropout is said without a place or a rate: 0.5
    before each of the three dense layers that follow the first.

    Parameters
    ----------
    convolutions
        4 or 5.
    input_size
        Side of the square input in pixels.
    """

    def __init__(self, convolutions: Literal[4, 5] = 4, input_size: int = 224) -> None:
        super().__init__()
        if convolutions not in (4, 5):
            raise ValueError(f"convolutions must be 4 or 5, not {convolutions}")
        layers: list[nn.Module] = []
        channels, side = 3, input_size
        for number in range(convolutions):
            filters, kernel = 32 * 2**number, 2 + number
            layers += [nn.Conv2d(channels, filters, kernel), nn.ReLU(), nn.MaxPool2d(2)]
            channels, side = filters, (side - kernel + 1) // 2
        if side < 1:
            raise ValueError(f"input_size {input_size} is too small for {convolutions} convolutions")
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * side**2, 256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(64, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×input_size×input_size images to N×2 logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build(convolutions: Literal[4, 5] = 4, input_size: int = 224) -> nn.Module:
    """Build the CNN with four or five convolutions for a square input."""
    return GrowingKernelCNN(convolutions, input_size)
