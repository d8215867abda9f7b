"""Resizing with Pillow, whose filters are antialiased when they shrink."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from robustbench_aigen.perturbations.codecs import jpeg
from robustbench_aigen.perturbations.pixelwise import on_pictures

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
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
        ``nearest``, ``box``, ``bilinear``, ``hamming``, ``bicubic`` or ``lanczos``, for both ways.
    back
        Whether to return to H×W. If not, the detector's own resize meets the new size.
    """
    return _resized(levels, scaled_size(levels.shape[-2:], scale), filter, back=back)


def resize_to(levels: Tensor, *, side: int, filter: str, back: bool) -> Tensor:  # noqa: A002  the recipe's word
    """Resize each image until its shorter side has ``side`` pixels and, with ``back``, to its own size again."""
    size = levels.shape[-2:]
    return _resized(levels, scaled_size(size, side / min(size)), filter, back=back)


def fit_within(levels: Tensor, *, side: int, filter: str) -> Tensor:  # noqa: A002  the recipe's word
    """Shrink each image until its longer side has ``side`` pixels; one that is no longer stays as it is."""
    return _resized(levels, fitting_size(levels.shape[-2:], side), filter, back=False)


def pixelate(levels: Tensor, *, scale: float) -> Tensor:
    """Shrink with a box filter, sides rounded down, and enlarge again: CIFAR-10-C's definition."""
    return _resized(levels, pixelated_size(levels.shape[-2:], scale), "box", back=True)


def screenshot(levels: Tensor, *, scale: float, quality: int) -> Tensor:
    """Show an image on a display of another resolution (bicubic), capture it and store it as JPEG.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    scale
        Display pixels per image pixel. The capture keeps the new size.
    quality
        Quality of the JPEG, 1 to 100.
    """
    shown = resize(levels, scale=scale, filter="bicubic", back=False)
    return jpeg(shown, quality=quality, subsampling="4:2:0", repeats=1)


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Return height and width after scaling both, at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def pixelated_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Return height and width of the blocks that :func:`pixelate` shows."""
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def fitting_size(size: Sequence[int], side: int) -> tuple[int, int]:
    """Return height and width inside a square of ``side`` pixels, never larger than given."""
    return scaled_size(size, min(1, side / max(size)))


def _resized(levels: Tensor, size: tuple[int, int], name: str, *, back: bool) -> Tensor:
    height, width = levels.shape[-2:]

    def change(picture: Image.Image) -> Image.Image:
        changed = picture.resize((size[1], size[0]), _FILTERS[name])
        return changed.resize((width, height), _FILTERS[name]) if back else changed

    return on_pictures(levels, change)
