"""What perturbations share: floats in, floats out, and one Pillow image at a time."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels

Floats = NDArray[np.float64]


def on_floats(levels: Tensor, change: Callable[[Floats], Floats]) -> Tensor:
    """Apply ``change`` to N×3×H×W float64 pixels in [0, 1]; clip and round its result to uint8 levels."""
    changed = change(to_pixels(levels).double().cpu().numpy())
    return to_levels(torch.from_numpy(np.clip(changed, 0, 1))).to(levels.device)


def on_pictures(levels: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply ``change`` to each image as a Pillow RGB picture; all results have one size."""
    pictures = (Image.fromarray(image) for image in levels.permute(0, 2, 3, 1).cpu().numpy())
    changed = np.stack([np.asarray(change(picture).convert("RGB")) for picture in pictures])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous().to(levels.device)
