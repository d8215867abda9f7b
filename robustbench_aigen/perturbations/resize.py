"""Resizing with Pillow, whose filters are antialiased when they shrink."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resize(levels: Tensor, *, scale: float, filter: str, back: bool) -> Tensor:  # noqa: A002  the recipe's word
    """Resize each image by ``scale`` and, with ``back``, to its own size again.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    scale
        Factor on both sides; the result has at least one pixel.
    filter
        ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``, for both ways.
    back
        Whether to return to H×W. If not, the detector's own resize meets the new size.
    """
    height, width = levels.shape[-2:]
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    images = []
    for image in levels.permute(0, 2, 3, 1).cpu().numpy():
        resized = Image.fromarray(image).resize(target, _FILTERS[filter])
        if back:
            resized = resized.resize((width, height), _FILTERS[filter])
        images.append(np.asarray(resized))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(levels.device)
