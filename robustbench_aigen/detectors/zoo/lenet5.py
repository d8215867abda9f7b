"""LeNet-5 with batch-norm and ReLU for 32×32 RGB (study C)."""

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC

INPUT_SIZE = (32, 32)
NORMALISATION = SYMMETRIC


class LeNet5(nn.Module):
    """Two 5×5 convolutions (6 and 16 filters) with batch-norm, ReLU and max pooling; dense 120, 84, 2.

    Sidiropoulos, "AI Generated vs Real Images Classification". The text gives 32×32 and, once, 256×256 as
    the input; 32×32 is LeCun et al.'s (1998) own and is the one taken here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×32×32 images to N×2 logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build() -> nn.Module:
    """Build LeNet-5; it has one input size, 32×32."""
    return LeNet5()
