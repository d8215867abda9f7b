"""JPEG by the real codec (libjpeg through torchvision); never an approximation of it."""

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg


def jpeg(levels: Tensor, *, quality: int) -> Tensor:
    """Encode and decode each image.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    quality
        libjpeg's quality factor, 1 to 100; chroma is stored at half resolution (4:2:0).
    """
    return torch.stack(
        [decode_jpeg(encode_jpeg(image.cpu(), quality), mode=ImageReadMode.RGB) for image in levels]
    ).to(levels.device)
