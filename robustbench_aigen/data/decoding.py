"""Encoded images to RGB levels."""

import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from robustbench_aigen.errors import first_line


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why."""


def decode(encoded: bytes) -> Tensor:
    """Decode an image file to 3×H×W uint8 RGB, turned upright by its EXIF orientation.

    Raises
    ------
    UnreadableImageError
        If the bytes are not a whole image, or one so large that Pillow takes it for a decompression bomb.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(encoded)) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):
                    # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling.
                    upright = Image.fromarray((np.asarray(upright, dtype=np.uint32) >> 8).astype(np.uint8))
                array = np.array(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image") from None
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableImageError(first_line(error)) from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()
