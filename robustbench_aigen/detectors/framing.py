"""The crop and normalisation that a published detector does by itself."""

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop

from robustbench_aigen.detectors.normalisation import Normalisation


class CropAndNormalise(nn.Module):
    """A centre crop of pixels, black around images that are smaller, and a normalisation.

    Parameters
    ----------
    size
        Side of the square crop in pixels; None keeps the whole image.
    normalisation
        Mean and standard deviation of each channel.
    """

    def __init__(self, size: int | None, normalisation: Normalisation) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map N×3×H×W pixels in [0, 1] to N×3×size×size normalised input."""
        if self.size is not None:
            pixels = center_crop(pixels, [self.size, self.size])
        return (pixels - cast(Tensor, self.mean)) / cast(Tensor, self.std)
