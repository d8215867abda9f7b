"""Resizing with Pillow, whose filters are antialiased when they shrink."""

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
    height, width = levels.shape[-2:]
    return _resized(levels, (max(1, round(width * scale)), max(1, round(height * scale))), filter, back=back)


def resize_to(levels: Tensor, *, side: int, filter: str, back: bool) -> Tensor:  # noqa: A002  the recipe's word
    """Resize each image until its shorter side has ``side`` pixels and, with ``back``, to its own size again."""
    height, width = levels.shape[-2:]
    factor = side / min(height, width)
    return _resized(
        levels, (max(1, round(width * factor)), max(1, round(height * factor))), filter, back=back
    )


def pixelate(levels: Tensor, *, scale: float) -> Tensor:
    """Shrink with a box filter, sides rounded down, and enlarge again: CIFAR-10-C's definition."""
    height, width = levels.shape[-2:]
    return _resized(levels, (max(1, int(width * scale)), max(1, int(height * scale))), "box", back=True)


def screenshot(levels: Tensor, *, scale: float, quality: int) -> Tensor:
    """Show an image on a display of another resolution (bicubic), capture it and store it as JPEG.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    scale
        Display pixels per image pixel. The capture keeps the new size.
    quality
        Of the JPEG, 1 to 100.
    """
    shown = resize(levels, scale=scale, filter="bicubic", back=False)
    return jpeg(shown, quality=quality, subsampling="4:2:0", repeats=1)


def _resized(levels: Tensor, target: tuple[int, int], name: str, *, back: bool) -> Tensor:
    height, width = levels.shape[-2:]

    def change(picture: Image.Image) -> Image.Image:
        changed = picture.resize(target, _FILTERS[name])
        return changed.resize((width, height), _FILTERS[name]) if back else changed

    return on_pictures(levels, change)
