"""UnivFD (Ojha et al. 2023, arXiv:2302.10174): a linear probe on the image features of CLIP ViT-L/14."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.normalisation import CLIP
from robustbench_aigen.detectors.pretrained import timm_backbone

INPUT_SIZE = (224, 224)
NORMALISATION = CLIP
PREPROCESSING: Mapping[str, Any] = {"crop": "center"}


class UnivFD(nn.Module):
    """CLIP's image encoder, its projection, and one sigmoid unit.

    The authors crop the centre 224×224 of the image at its own size, black around smaller ones, and resize nothing.

    Parameters
    ----------
    width, depth, heads
        Dimensions of the vision transformer.
    features
        Width of CLIP's projection.
    """

    def __init__(self, width: int = 1024, depth: int = 24, heads: int = 16, features: int = 768) -> None:
        super().__init__()
        # OpenAI's networks use the quick approximation of GELU.
        self.backbone = timm_backbone(
            "vit_large_patch14_clip_quickgelu_224", "none", embed_dim=width, depth=depth, num_heads=heads
        )
        self.projection = nn.Linear(width, features, bias=False)
        self.fc = nn.Linear(features, 1)
        self.two_logits = TwoLogits()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×224×224 images to N×2 logits."""
        logits: Tensor = self.two_logits(self.fc(self.projection(self.backbone(images))))
        return logits


def build(width: int = 1024, depth: int = 24, heads: int = 16, features: int = 768) -> UnivFD:
    """Build the probe on a CLIP image encoder of some size: ViT-L/14 by default."""
    return UnivFD(width, depth, heads, features)
