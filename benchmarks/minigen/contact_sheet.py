"""A picture of minigen: photographs in the first rows, then two rows per generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.minigen.sampling import REAL

COLUMNS = 20
ROWS = 2
SCALE = 2
GAP = 4


def contact_sheet(images: dict[str, np.ndarray], path: Path) -> None:
    """Write the sheet, the first images of every stack (uint8 N×32×32×3), enlarged by repeating pixels."""
    names = [REAL, *(name for name in images if name != REAL)]
    blocks = []
    for name in names:
        tiles = images[name][: ROWS * COLUMNS].reshape(ROWS, COLUMNS, 32, 32, 3)
        block = tiles.swapaxes(1, 2).reshape(ROWS * 32, COLUMNS * 32, 3).repeat(SCALE, 0).repeat(SCALE, 1)
        blocks.append(np.pad(block, ((0, GAP), (0, 0), (0, 0)), constant_values=255))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    Image.fromarray(np.concatenate(blocks)).save(temporary, "PNG", optimize=True)
    temporary.replace(path)
