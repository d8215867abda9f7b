"""Preprocessing of pixels before a network: resize, crop, order of the channels, normalisation."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.detectors.preprocessing_settings import FAKE_COLUMN, PreprocessingSettings

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R 601, by which Pillow makes grey images."""


class Window(NamedTuple):
    """A view of an image: its upper left corner in pixels."""

    top: int
    left: int


class Preprocessing(PreprocessingSettings):
    """Differentiable preprocessing; its settings are those of the base class."""

    def fit(self, pixels: Tensor) -> Tensor:
        """Return the one view that a network sees of N×3×H×W pixels in [0, 1], or the middle one of several.

        Resized and cropped to the input size; channels and values stay.
        """
        pixels = self.resized(pixels)
        if self.input_size is None:
            return pixels
        return self.cut(pixels, self._middle(pixels.shape[-2], pixels.shape[-1]))

    def resized(self, pixels: Tensor) -> Tensor:
        """Resize N×3×H×W pixels in [0, 1], and pad them to the size of the crop where they are smaller."""
        size = self._resized_to(pixels.shape[-2], pixels.shape[-1])
        if size != tuple(pixels.shape[-2:]):
            pixels = self._resize_on_8_bits(pixels, size) if self.eight_bit else self._resize(pixels, size)
        return pixels if self.input_size is None else _padded(pixels, self.input_size, self.pad)

    def rounds(self, height: int, width: int) -> bool:
        """Whether images of a height and width are resized, and the resized pixels rounded to 8 bits."""
        return self.eight_bit and self._resized_to(height, width) != (height, width)

    def pads(self, height: int, width: int) -> bool:
        """Whether images of a height and width are padded: smaller than the crop after the resize."""
        size = self._resized_to(height, width)
        return self.crops and any(
            side < wanted for side, wanted in zip(size, self.input_size or size, strict=True)
        )

    def windows(self, height: int, width: int) -> list[Window]:
        """Return the views of resized images of a height and width, in a fixed order."""
        size = self.input_size
        if size is None or not self.has_views:
            return [self._middle(height, width)]
        bottom, right = height - size[0], width - size[1]
        if self.crop == "five":
            corners = [Window(0, 0), Window(0, right), Window(bottom, 0), Window(bottom, right)]
            return [*corners, self._middle(height, width)]
        down, across = self.stride or size
        return [Window(top, left) for top in _steps(bottom, down) for left in _steps(right, across)]

    def cut(self, pixels: Tensor, window: Window) -> Tensor:
        """Return a view of resized images."""
        if self.input_size is None or tuple(pixels.shape[-2:]) == self.input_size:
            return pixels
        height, width = self.input_size
        return pixels[..., window.top : window.top + height, window.left : window.left + width]

    def onto_image(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Return maps of the view of :meth:`fit` as maps of the images, N×height×width; 0 where no view is.

        Parameters
        ----------
        maps
            N×h×w numbers over the view, of any resolution.
        height, width
            Size of the images.
        """
        resized = self._resized_to(height, width)
        view = self.input_size or resized
        canvas = [max(pair) for pair in zip(resized, view, strict=True)]
        window = self._middle(canvas[0], canvas[1])
        placed = maps.new_zeros((len(maps), 1, *canvas))
        seen = functional.interpolate(maps[:, None], view, mode="bilinear", align_corners=False)
        placed[..., window.top : window.top + view[0], window.left : window.left + view[1]] = seen
        top, left = ((side - own) // 2 for side, own in zip(canvas, resized, strict=True))
        inside = placed[..., top : top + resized[0], left : left + resized[1]]
        if tuple(inside.shape[-2:]) != (height, width):
            inside = functional.interpolate(inside, (height, width), mode="bilinear", align_corners=False)
        return inside[:, 0]

    def combined(self, logits: Tensor) -> Tensor:
        """Return N×2 logits (real, fake) for the V×N×2 logits of V views."""
        if self.combine == "mean_logit":
            return logits.mean(dim=0)
        if self.combine != "mean_score":
            count = 1 if self.combine == "max_score" else int(self.combine.removeprefix("top"))
            margins = logits[..., FAKE_COLUMN] - logits[..., 1 - FAKE_COLUMN]
            best = margins.topk(min(count, len(logits)), dim=0).indices
            logits = logits.gather(0, best[..., None].expand(-1, -1, 2))
        return mean_score(logits)

    def _middle(self, height: int, width: int) -> Window:
        if self.input_size is None:
            return Window(0, 0)
        halve = math.floor if self.crop_rounds_down else round
        return Window(halve((height - self.input_size[0]) / 2), halve((width - self.input_size[1]) / 2))

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
            return (height, width) if self.crop is not None else self.input_size or (height, width)
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


def mean_score(logits: Tensor) -> Tensor:
    """Return N×2 logits whose probabilities are the mean of those of V×N×2 logits."""
    # The logarithm of the mean probability, without leaving logarithms.
    return functional.log_softmax(logits, dim=2).logsumexp(dim=0) - math.log(len(logits))


def _steps(last: int, step: int) -> list[int]:
    """Return 0, step, 2 × step, … and the last position, which is reached in any case."""
    return [*range(0, last, step), last]


def _padded(pixels: Tensor, size: tuple[int, int], pad: float | Literal["reflect"] | None) -> Tensor:
    """Return images that are at least of a size, with what is missing around them."""
    missing = [max(0, wanted - side) for wanted, side in zip(size, pixels.shape[-2:], strict=True)]
    if not any(missing):
        return pixels
    before, after = [side // 2 for side in missing], [(side + 1) // 2 for side in missing]
    if pad != "reflect":
        return functional.pad(pixels, (before[1], after[1], before[0], after[0]), value=pad or 0.0)
    for dimension, first, last in zip((-2, -1), before, after, strict=True):
        pixels = pixels.index_select(
            dimension, _reflected(pixels.shape[dimension], first, last).to(pixels.device)
        )
    return pixels


def _reflected(side: int, before: int, after: int) -> Tensor:
    """Return the positions that a padded side shows: reflected at the edges, again and again where it is short."""
    period = max(1, 2 * (side - 1))
    place = torch.arange(-before, side + after).remainder(period)
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)
