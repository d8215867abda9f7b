"""The small CNN of study B, at 32×32."""

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import SYMMETRIC

INPUT_SIZE = (32, 32)
NORMALISATION = SYMMETRIC


class GenImageCNN(nn.Module):
    """Three [Conv3×3 same, ReLU, max pooling] with 32, 64 and 128 filters; dense 128, dropout 0.5, two logits.

    Iacob & Nuță, "Evaluating Deep Learning Methods for Detection of AI Generated Images: A Study on GenImage",
    study B. The study does not count its filters; 32, 64, 128 is the usual doubling. Its softmax is in the loss.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×32×32 images to N×2 logits."""
        logits: Tensor = self.head(self.features(images))
        return logits


def build() -> nn.Module:
    """Build the CNN; it has one input size, 32×32."""
    return GenImageCNN()
