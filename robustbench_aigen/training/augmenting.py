"""Augmentations of whole batches in tensor operations, with random numbers from one generator."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from robustbench_aigen.numerics.eight_bit import to_levels
from robustbench_aigen.perturbations.codecs import jpeg
from robustbench_aigen.training.augmentation import Augmentation


def augment(pixels: Tensor, augmentations: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Apply augmentations in their order, each image by its own draws.

    Parameters
    ----------
    pixels
        N×3×H×W in [0, 1].
    augmentations
        The augmentations to apply.
    generator
        Random generator on the CPU, so that the draws are the same on every device.

    Returns
    -------
    Tensor
        N×3×H×W in [0, 1].
    """
    for augmentation in augmentations:
        pixels = _APPLY[augmentation.name](pixels, augmentation.amount or 0.0, generator)
    return pixels


def _uniform(pixels: Tensor, low: float, high: float, generator: torch.Generator, count: int = 1) -> Tensor:
    """Draw N×count uniform numbers."""
    drawn = torch.rand((len(pixels), count), generator=generator) * (high - low) + low
    return drawn.to(pixels.device)


def _chosen(pixels: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(len(pixels), generator=generator) < probability).to(pixels.device)


def _flip(side: int) -> Callable[[Tensor, float, torch.Generator], Tensor]:
    def flip(pixels: Tensor, _: float, generator: torch.Generator) -> Tensor:
        return torch.where(_chosen(pixels, 0.5, generator)[:, None, None, None], pixels.flip(side), pixels)

    return flip


def _affine(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Transform N images by N×2×3 matrices, bilinearly, with mirrored edges."""
    grid = functional.affine_grid(matrices, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _rotation(pixels: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    angle = _uniform(pixels, -math.radians(degrees), math.radians(degrees), generator)[:, 0]
    aspect = pixels.shape[-2] / pixels.shape[-1]
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [torch.stack([cosine, -sine * aspect, zero], 1), torch.stack([sine / aspect, cosine, zero], 1)]
    return _affine(pixels, torch.stack(rows, 1))


def _zoom(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    scale = 1 + _uniform(pixels, -amount, amount, generator)[:, 0]
    zero = torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, zero], 1), torch.stack([zero, scale, zero], 1)]
    return _affine(pixels, torch.stack(rows, 1))


def _random_crop(pixels: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Crop a rectangle of ``least`` to all of the area with sides of 3:4 to 4:3 (Szegedy et al. 2015), resize it."""
    area = _uniform(pixels, least, 1.0, generator)[:, 0].sqrt()
    ratio = _uniform(pixels, math.log(3 / 4), math.log(4 / 3), generator)[:, 0].exp().sqrt()
    width, height = (area * ratio).clamp(max=1), (area / ratio).clamp(max=1)
    place = _uniform(pixels, -1.0, 1.0, generator, 2)
    zero = torch.zeros_like(width)
    rows = [
        torch.stack([width, zero, place[:, 0] * (1 - width)], 1),
        torch.stack([zero, height, place[:, 1] * (1 - height)], 1),
    ]
    return _affine(pixels, torch.stack(rows, 1))


def _shift(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Move each image by whole pixels: no interpolation, so that the traces of a generator stay."""
    height, width = pixels.shape[-2:]
    most = min(int(amount), height - 1, width - 1)
    moved = torch.randint(-most, most + 1, (2, len(pixels), 1), generator=generator).to(pixels.device)
    rows = _mirrored(torch.arange(height, device=pixels.device) + moved[0], height)
    columns = _mirrored(torch.arange(width, device=pixels.device) + moved[1], width)
    images = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    # Channels last, so that a pixel's three values are gathered together.
    gathered = pixels.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]]
    return gathered.permute(0, 3, 1, 2)


def _mirrored(positions: Tensor, length: int) -> Tensor:
    positions = positions.abs()
    return torch.where(positions >= length, 2 * (length - 1) - positions, positions)


def _brightness(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return (pixels + _uniform(pixels, -amount, amount, generator)[:, :, None, None]).clamp(0, 1)


def _gaussian_noise(pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    own = _uniform(pixels, 0.0, sigma, generator)[:, :, None, None]
    noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
    return (pixels + own * noise).clamp(0, 1)


def _resize(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Resize half of the images down and up again, bilinearly and antialiased, as an upload does."""
    chosen = _chosen(pixels, 0.5, generator)
    scales = _uniform(pixels, 1 - amount, 1.0, generator)[:, 0].tolist()
    changed, size = pixels.clone(), pixels.shape[-2:]
    for row in chosen.nonzero()[:, 0].tolist():
        smaller = [max(1, round(scales[row] * side)) for side in size]
        image = functional.interpolate(pixels[row : row + 1], smaller, mode="bilinear", antialias=True)
        changed[row] = functional.interpolate(image, size, mode="bilinear", antialias=True)[0]
    return changed.clamp(0, 1)


def _blur_jpeg(pixels: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    blurred, stored = _chosen(pixels, probability, generator), _chosen(pixels, probability, generator)
    sigmas = _uniform(pixels, 0.0, 3.0, generator)[:, 0].tolist()
    qualities = torch.randint(30, 101, (len(pixels),), generator=generator).tolist()
    changed = pixels.clone()
    for row in blurred.nonzero()[:, 0].tolist():
        sigma = max(sigmas[row], 1e-3)
        # torchvision mirrors the edges, which must be longer than half the kernel.
        radius = min(math.ceil(3 * sigma), *(side - 1 for side in pixels.shape[-2:]))
        changed[row] = gaussian_blur(changed[row], [2 * radius + 1] * 2, [sigma])
    for row in stored.nonzero()[:, 0].tolist():
        levels = jpeg(
            to_levels(changed[row : row + 1]).cpu(), quality=qualities[row], subsampling="4:2:0", repeats=1
        )
        changed[row] = levels[0].to(pixels) / 255
    return changed


_APPLY: Mapping[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "flip_horizontal": _flip(3),
    "flip_vertical": _flip(2),
    "rotation": _rotation,
    "zoom": _zoom,
    "random_crop": _random_crop,
    "shift": _shift,
    "brightness": _brightness,
    "gaussian_noise": _gaussian_noise,
    "resize": _resize,
    "blur_jpeg": _blur_jpeg,
}
