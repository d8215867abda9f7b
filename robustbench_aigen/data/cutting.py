"""Cuts into images before a data set is used: bottom watermarks cropped, grids of pictures taken apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.numerics.decoding import UnreadableImageError


@dataclass(frozen=True)
class BottomCrop:
    """A crop of the lower edge: ``amount`` pixels, or that share of the height if ``is_share``."""

    amount: float
    is_share: bool

    def rows(self, height: int) -> int:
        """Return the number of rows to cut off an image of some height."""
        return round(self.amount * height) if self.is_share else int(self.amount)


class Grid(NamedTuple):
    """A grid of pictures: rows and columns."""

    rows: int
    columns: int


def read_crop(text: str) -> BottomCrop:
    """Read ``24`` (pixels) or ``8%`` (of the height).

    Raises
    ------
    UserError
        If it is neither, or leaves nothing of any image.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    amount, is_share = (float(found[1]), bool(found[2])) if found else (-1.0, False)
    if found is None or (is_share and not amount < 100) or (not is_share and amount != int(amount)):
        raise UserError(
            f"--crop-bottom '{shortened(text)}' is not a number of pixels or per cent",
            hint="such as 24 or 8%",
        )
    return BottomCrop(amount / 100 if is_share else amount, is_share)


def read_grid(text: str) -> Grid:
    """Read ``2x2``: rows × columns.

    Raises
    ------
    UserError
        If it is not of that form, or a grid of one picture.
    """
    found = re.fullmatch(r"([1-9]\d?)\s*[xX×]\s*([1-9]\d?)", text.strip())
    if found is None or found[1] == found[2] == "1":
        raise UserError(f"--split-grid '{shortened(text)}' is not a grid", hint="rows x columns, such as 2x2")
    return Grid(int(found[1]), int(found[2]))


def cut(image: Tensor, crop: BottomCrop | None, grid: Grid | None) -> Iterator[Tensor]:
    """Crop an image, then take it apart.

    Parameters
    ----------
    image
        3×H×W uint8.
    crop, grid
        The cuts; None for no cut.

    Yields
    ------
    Tensor
        The pictures of the grid, row by row, all of one size: rows and columns that do not divide evenly are left
        out at the lower and the right edge.

    Raises
    ------
    UnreadableImageError
        If nothing would be left.
    """
    height, width = image.shape[1:]
    if crop is not None:
        off = crop.rows(height)
        if off >= height:
            raise UnreadableImageError(f"the image is {height} pixels high, too little for a crop of {off}")
        height -= off
        image = image[:, :height]
    rows, columns = grid or Grid(1, 1)
    tall, wide = height // rows, width // columns
    if tall < 1 or wide < 1:
        raise UnreadableImageError(
            f"{width}×{height} pixels cannot be divided into {rows}×{columns} equal pictures"
        )
    for row in range(rows):
        for column in range(columns):
            yield image[:, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
