"""The convolution, pooling and dense stack of study D, at 32×32."""

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC

INPUT_SIZE = (32, 32)
NORMALISATION = SYMMETRIC


class ConvDenseCNN(nn.Module):
    """Two [Conv3×3, ReLU, max pooling] with 32 and 64 filters, unpadded; dense 128, dropout 0.5, two logits.

    Rajendran, "Deep Learning for Distinction between Real and Synthetic Imagery" (2023), study D. The study names
    the layers (Conv/MaxPool, flatten, dense, dropout) and no sizes, and no parameter count to check them by. These
    are the sizes of Keras' own example of such a stack (mnist_convnet), with its dropout before the last layer.
    In the study label 1 is real; here column 1 is fake, so weights of the study's want ``fake_index: 0``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 6 * 6, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×32×32 images to N×2 logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build() -> nn.Module:
    """Build the CNN; it has one input size, 32×32."""
    return ConvDenseCNN()
