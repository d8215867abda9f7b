"""Preprocessing of pixels before a network: resize, crop, order of the channels, normalisation."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.detectors.preprocessing_settings import PreprocessingSettings

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R 601, by which Pillow makes grey images."""


class Preprocessing(PreprocessingSettings):
    """Differentiable preprocessing; its settings are those of the base class."""

    def fit(self, pixels: Tensor) -> Tensor:
        """Resize and crop N×3×H×W pixels in [0, 1] to the input size; channels and values stay."""
        size = self._resized_to(pixels.shape[-2], pixels.shape[-1])
        if size != tuple(pixels.shape[-2:]):
            pixels = self._resize_on_8_bits(pixels, size) if self.eight_bit else self._resize(pixels, size)
        return pixels if self.input_size is None else _centre(pixels, self.input_size, self.crop_rounds_down)

    def order(self, pixels: Tensor) -> Tensor:
        """Make the network's channels of RGB ones, N×1, N×3 or N×4×H×W."""
        if self.channels == "bgr":
            return pixels.flip(1)
        if self.channels == "grey":
            return (pixels * pixels.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        if self.channels == "rgba":
            return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)
        return pixels

    def _resized_to(self, height: int, width: int) -> tuple[int, int]:
        if isinstance(self.resize_to, tuple):
            return self.resize_to
        if self.resize_to is None:
            return self.input_size or (height, width)
        longer = int(self.resize_to * max(height, width) / min(height, width))
        return (longer, self.resize_to) if height > width else (self.resize_to, longer)

    def _resize(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        if self.resample == "nearest":
            return functional.interpolate(pixels, size, mode="nearest-exact")
        # Lanczos is computed on CPUs alone.
        place = pixels.device if self.resample != "lanczos" else "cpu"
        resized = functional.interpolate(
            pixels.to(place), size, mode=self.resample, antialias=True, align_corners=False
        ).to(pixels.device)
        # Bicubic and Lanczos filters overshoot.
        return resized if self.resample == "bilinear" else resized.clamp(0, 1)

    def _resize_on_8_bits(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize with the arithmetic of 8-bit images; the gradient is that of the resize in float."""
        smooth = self._resize(pixels, size)
        with torch.no_grad():
            if pixels.device.type == "cpu" and self.resample != "nearest":
                # The kernel of torchvision for 8-bit images, which is Pillow's up to a level in 0.5 % of the values.
                levels = (pixels * 255).round().to(torch.uint8)
                exact = functional.interpolate(levels, size, mode=self.resample, antialias=True).float()
            else:
                exact = (self._resize((pixels * 255).round() / 255, size) * 255).round()
        return smooth + (exact / 255 - smooth).detach()


def _centre(pixels: Tensor, size: tuple[int, int], rounds_down: bool) -> Tensor:
    """Cut the middle out of images, black where they are smaller."""
    height, width = pixels.shape[-2:]
    if (height, width) == size:
        return pixels
    missing = [max(0, wanted - side) for wanted, side in zip(size, (height, width), strict=True)]
    if any(missing):
        before, after = [side // 2 for side in missing], [(side + 1) // 2 for side in missing]
        pixels = functional.pad(pixels, (before[1], after[1], before[0], after[0]))
        height, width = pixels.shape[-2:]
    halve = math.floor if rounds_down else round
    top, left = halve((height - size[0]) / 2), halve((width - size[1]) / 2)
    return pixels[..., top : top + size[0], left : left + size[1]]
