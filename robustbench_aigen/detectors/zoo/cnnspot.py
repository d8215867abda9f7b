"""CNNSpot (Wang et al. 2020, arXiv:1912.11035): ResNet-50 trained on ProGAN with blur and JPEG augmentation."""

from torch import Tensor
from torchvision.models.resnet import Bottleneck, ResNet

from robustbench_aigen.detectors.framing import CropAndNormalise
from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.normalisation import IMAGENET, PIXELS

INPUT_SIZE = None
NORMALISATION = PIXELS


class CNNSpot(ResNet):  # type: ignore[misc]  # torchvision is untyped.
    """ResNet-50 with one sigmoid unit, under the names of its authors' checkpoint.

    Parameters
    ----------
    crop
        Side of the centre crop in pixels; None takes the whole image at its own size, which the authors recommend
        since June 2020 (their repository, section 5). The paper crops 224.
    """

    def __init__(self, crop: int | None = None) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3], num_classes=1)
        self.frame = CropAndNormalise(crop, IMAGENET)
        self.two_logits = TwoLogits()

    def forward(self, pixels: Tensor) -> Tensor:
        """Map N×3×H×W pixels in [0, 1] to N×2 logits."""
        logits: Tensor = self.two_logits(super().forward(self.frame(pixels)))
        return logits


def build(crop: int | None = None) -> CNNSpot:
    """Build the network for whole images, or for a centre crop."""
    return CNNSpot(crop)
