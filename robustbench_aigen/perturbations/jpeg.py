"""JPEG by a real codec (libjpeg, through Pillow); never an approximation of it."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigen.errors import UserError

_LARGEST = 65_500
"""Pixels a side, by libjpeg (JPEG_MAX_DIMENSION)."""


def jpeg(levels: Tensor, *, quality: int) -> Tensor:
    """Encode and decode each image.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    quality
        libjpeg's quality factor, 1 to 100; chroma is stored at half resolution (4:2:0).
    """
    height, width = levels.shape[-2:]
    if max(height, width) > _LARGEST:
        raise UserError(
            f"an image of {width}×{height} pixels cannot be a JPEG: {_LARGEST} a side are the most"
        )
    decoded = [_through_jpeg(image, quality) for image in levels.permute(0, 2, 3, 1).cpu().numpy()]
    return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous().to(levels.device)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer))
