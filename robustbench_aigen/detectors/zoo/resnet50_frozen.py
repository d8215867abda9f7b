"""A frozen ResNet-50 with the trained head of study B, at 224×224."""

from typing import Self

from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, resnet50

from robustbench_aigen.detectors.heads import TwoLogits, dense_head
from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights

INPUT_SIZE = (224, 224)
NORMALISATION = IMAGENET


class FrozenResNet50(nn.Module):
    """ResNet-50's features, global average pooling, dense 256, dropout 0.5, one sigmoid unit.

    Iacob & Nuță, study B, all convolutions frozen. Their sigmoid says *real* (0 = AI, 1 = real), and so does the
    unit here: it is turned into two logits (real, fake), so that weights of the study's fit as they are.

    Parameters
    ----------
    frozen
        Whether the convolutions and their batch norms stay as they are in training. On untrained weights that
        leaves random features: train them then.
    """

    def __init__(self, *, frozen: bool = True) -> None:
        super().__init__()
        self.frozen = frozen
        self.backbone = resnet50(weights=None)
        self.backbone.fc = nn.Identity()
        self.backbone.requires_grad_(not frozen)
        self.head = nn.Sequential(dense_head(2048, 256, dropout=0.5, outputs=1), TwoLogits(one="real"))

    def train(self, mode: bool = True) -> Self:
        """Switch the head's mode; a frozen backbone stays in evaluation mode, as Keras keeps it."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build(weights: str = "none", frozen: bool = True) -> nn.Module:
    """Build it on ``weights`` (``imagenet``, ``none`` or a file), with the backbone frozen or not."""
    network = FrozenResNet50(frozen=frozen)
    source = torchvision_weights(ResNet50_Weights.IMAGENET1K_V1)
    initialise(network.backbone, weights, source, head="fc.")
    return network
