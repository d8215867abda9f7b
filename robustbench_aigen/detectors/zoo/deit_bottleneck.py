"""DeiT (Touvron et al. 2021, arXiv:2012.12877), timm's, with a bottleneck and a binary head, at 224×224 (study E)."""

from typing import Literal, cast

from torch import Tensor, nn

from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import timm_backbone

INPUT_SIZE = (224, 224)
NORMALISATION = IMAGENET


class DeiTBottleneck(nn.Module):
    """DeiT without its head, a dense bottleneck with ReLU, and two logits.

    Yu, Tanuwijaya, Liu & Liu (CUHK-Shenzhen DDA4210, 2024), study E: "DeiT-224, head removed, bottleneck layer,
    binary head". Neither the size of the DeiT nor the width of the bottleneck is said: DeiT-S, which fits the
    study's data best, and 256 are taken.

    Parameters
    ----------
    variant
        ``tiny``, ``small`` or ``base``.
    bottleneck
        Width of the bottleneck layer.
    input_size
        Side of the square input in pixels, a multiple of 16; position embeddings are resampled to it.
    weights
        ``imagenet``, ``none`` or a file.
    """

    def __init__(self, variant: str, bottleneck: int, input_size: int, weights: str) -> None:
        super().__init__()
        if variant not in ("tiny", "small", "base"):
            raise ValueError(f"variant must be tiny, small or base, not '{variant}'")
        if input_size < 16 or input_size % 16:
            raise ValueError(f"input_size must be a positive multiple of 16, not {input_size}")
        if bottleneck < 1:
            raise ValueError(f"bottleneck must be at least 1, not {bottleneck}")
        self.backbone = timm_backbone(f"deit_{variant}_patch16_224", weights, img_size=input_size)
        self.head = nn.Sequential(
            nn.Linear(cast(int, self.backbone.num_features), bottleneck),
            nn.ReLU(),
            nn.Linear(bottleneck, 2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×input_size×input_size images to N×2 logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build(
    variant: Literal["tiny", "small", "base"] = "small",
    bottleneck: int = 256,
    input_size: int = 224,
    weights: str = "none",
) -> nn.Module:
    """Build a DeiT of a size with a bottleneck of a width, on ``weights`` (``imagenet``, ``none`` or a file)."""
    return DeiTBottleneck(variant, bottleneck, input_size, weights)
