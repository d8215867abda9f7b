"""Text laid over an image; what it covers has no gradient."""

import numpy as np
import torch
from torch import Tensor

from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.perturbations.overlay import text_mask


def text_overlay(pixels: Tensor, *, text: str, height: float, opacity: float) -> Tensor:
    """Differentiable version of :func:`~robustbench_aigen.perturbations.overlay.text_overlay`: N×3×H×W pixels."""
    rows, columns = pixels.shape[-2:]
    mask = np.array(text_mask(rows, columns, text, height, opacity))
    covered = torch.from_numpy(mask).to(pixels) / LEVELS
    return pixels * (1 - covered) + covered
