"""Text laid over an image, as watermarks and captions are."""

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustbench_aigen.perturbations.pixelwise import on_pictures


def text_overlay(levels: Tensor, *, text: str, height: float, opacity: float) -> Tensor:
    """Write white text into the lower right corner.

    Parameters
    ----------
    levels
        N×3×H×W uint8.
    text
        The text, in Pillow's own font; a text that does not fit runs out of the image on the left.
    height
        Height of the letters, as a share of the image's height.
    opacity
        1 covers what is below, 0 is invisible.
    """
    rows, columns = levels.shape[-2:]
    mask = text_mask(rows, columns, text, height, opacity)
    white = Image.new("RGB", (columns, rows), (255, 255, 255))
    return on_pictures(levels, lambda picture: Image.composite(white, picture, mask))


def text_mask(rows: int, columns: int, text: str, height: float, opacity: float) -> Image.Image:
    """Return the coverage of each pixel by the text, 0 to 255, as a grey picture."""
    mask = Image.new("L", (columns, rows), 0)
    margin = max(1, rows // 50)
    font = ImageFont.load_default(max(4, round(rows * height)))
    place = (columns - margin, rows - margin)
    ImageDraw.Draw(mask).text(place, text, fill=round(255 * opacity), font=font, anchor="rd")
    return mask
