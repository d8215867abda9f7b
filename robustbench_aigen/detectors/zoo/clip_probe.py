"""A linear probe on the image features of CLIP ViT-B/16 (Radford et al. 2021), the recipe of UnivFD, at 224×224."""

from pathlib import Path

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.frozen_backbone import FrozenBackbone
from robustbench_aigen.detectors.normalisation import CLIP
from robustbench_aigen.detectors.packaged_weights import CLIP_VIT_B16, clip_as_timm, packaged_clip
from robustbench_aigen.detectors.pretrained import read_state_dict, timm_backbone
from robustbench_aigen.detectors.probe import LinearProbe
from robustbench_aigen.errors import UserError, first_line

INPUT_SIZE = (224, 224)
NORMALISATION = CLIP


class ClipImageEncoder(nn.Module):
    """CLIP's vision transformer with patches of 16 pixels, and its projection.

    Parameters
    ----------
    width, depth, heads
        Dimensions of the vision transformer.
    features
        Width of the projection.
    input_size
        Side of the square input in pixels, a multiple of 16.
    """

    def __init__(self, width: int, depth: int, heads: int, features: int, input_size: int) -> None:
        super().__init__()
        if input_size < 16 or input_size % 16:
            raise ValueError(f"input_size must be a positive multiple of 16, not {input_size}")
        # OpenAI's networks use the quick approximation of GELU.
        self.transformer = timm_backbone(
            "vit_base_patch16_clip_quickgelu_224", "none",
            embed_dim=width, depth=depth, num_heads=heads, img_size=input_size,
        )  # fmt: skip
        self.projection = nn.Linear(width, features, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×input_size×input_size images to N×features image embeddings, not normalised."""
        embeddings: Tensor = self.projection(self.transformer(images))
        return embeddings


def build(
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    features: int = 512,
    input_size: int = 224,
    weights: str = "none",
) -> LinearProbe:
    """Build the probe, not yet fitted: it answers 0 to everything.

    Ojha et al. 2023 (arXiv:2302.10174) take ViT-L/14; ``univfd`` is theirs.

    Parameters
    ----------
    width, depth, heads, features
        Dimensions of the encoder: ViT-B/16 by default.
    input_size
        Side of the square input in pixels. CLIP's weights are for 224.
    weights
        ``clip``: of an installed package, without a download; a checkpoint then holds the probe alone and names the
        encoder's weights by their hash. ``none``, or a file in the names of transformers'
        ``CLIPVisionModelWithProjection``.

    Raises
    ------
    UserError
        If timm or the package of the weights is missing, or the weights are of another network.
    """
    options = {"width": width, "depth": depth, "heads": heads, "features": features, "input_size": input_size}
    if weights == "none":
        return LinearProbe(ClipImageEncoder(**options), features, options)
    state = packaged_clip() if weights == "clip" else read_state_dict(Path(weights))
    with torch.device("meta"):  # Random values of 86 M weights take seconds, and are replaced at once.
        encoder = ClipImageEncoder(**options)
    try:
        own = {name: tensor.float() for name, tensor in clip_as_timm(state).items()}
        encoder.load_state_dict(own, assign=True)
    except (RuntimeError, KeyError) as error:
        raise UserError(f"weights '{weights}' are not of this CLIP encoder: {first_line(error)}") from error
    if weights != "clip":
        return LinearProbe(encoder.requires_grad_(False), features, options)
    named = FrozenBackbone(encoder, CLIP_VIT_B16.sha256, CLIP_VIT_B16.what)
    return LinearProbe(named, features, {**options, "weights": weights})
