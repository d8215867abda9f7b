"""Histograms of oriented gradients (Dalal & Triggs 2005) in tensor operations, as scikit-image computes them."""

import math

import torch
from torch import Tensor
from torch.nn import functional

_GREY = (0.2125, 0.7154, 0.0721)
"""scikit-image's rgb2gray (ITU-R BT.709 primaries)."""
_EPSILON = 1e-5


def hog(pixels: Tensor, *, orientations: int = 9, cell: int = 8, block: int = 3) -> Tensor:
    """Describe RGB images by the directions of their edges.

    The values are those of ``skimage.feature.hog(rgb2gray(image))`` (L2-Hys norm). There every pixel votes for one
    direction, so a small turn of an edge changes nothing, and an edge on the border of two bins everything; the
    gradient is that of votes shared between the two nearest directions, as Dalal & Triggs have it.

    Parameters
    ----------
    pixels
        N×3×H×W in [0, 1].
    orientations
        Bins of half a turn.
    cell
        Side of a cell in pixels.
    block
        Side of a block in cells.

    Returns
    -------
    Tensor
        N × (blocks · block² · orientations), float32.
    """
    # A pixel whose direction lies next to a border must not change its bin for the sake of a last bit.
    exact = pixels.float() if pixels.device.type == "mps" else pixels.double()
    weights = torch.tensor(_GREY, dtype=exact.dtype, device=exact.device).view(1, 3, 1, 1)
    grey = (exact * weights).sum(dim=1)
    down, right = _differences(grey)
    cells = _histograms(*_votes(down.detach(), right.detach(), orientations), orientations, cell)
    if torch.is_grad_enabled() and pixels.requires_grad:
        # The value of the one, the gradient of the other.
        soft = _histograms(*_shared_votes(down, right, orientations), orientations, cell)
        cells = soft + (cells - soft).detach()
    return _normalised_blocks(cells, block).float()


def _differences(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences along rows and columns, zero at the edges, N×H×W each."""
    down = functional.pad(grey[:, 2:] - grey[:, :-2], (0, 0, 1, 1))
    right = functional.pad(grey[:, :, 2:] - grey[:, :, :-2], (1, 1))
    return down, right


def _votes(down: Tensor, right: Tensor, orientations: int) -> tuple[Tensor, Tensor]:
    """Return the bin of each pixel's direction and the strength of its edge, N×1×H×W each."""
    degrees = (torch.atan2(down, right) * (180 / math.pi)).remainder(180)
    bins = (degrees / (180 / orientations)).floor().long()
    # remainder rounds a tiny negative angle up to 180 itself: no bin has it, there or here.
    strength = torch.hypot(down, right) * (bins < orientations)
    return bins.clamp(max=orientations - 1)[:, None], strength[:, None]


def _shared_votes(down: Tensor, right: Tensor, orientations: int) -> tuple[Tensor, Tensor]:
    """Return the two bins whose centres are nearest to each pixel's direction, and their shares, N×2×H×W each."""
    # Where there is no edge the direction has no gradient, and its absence must not become NaN.
    flat = (down == 0) & (right == 0)
    right = torch.where(flat, torch.full_like(right, 1e-12), right)
    position = torch.atan2(down, right) * (orientations / math.pi) - 0.5
    below = position.detach().floor()
    share = torch.stack([1 - (position - below), position - below], dim=1)
    bins = torch.stack([below, below + 1], dim=1).remainder(orientations).long()
    return bins, share * torch.sqrt(down**2 + right**2)[:, None]


def _histograms(bins: Tensor, votes: Tensor, orientations: int, cell: int) -> Tensor:
    """Return the votes of each cell's pixels by bin, N×orientations×rows×columns."""
    rows, columns = bins.shape[2] // cell, bins.shape[3] // cell
    bins, votes = (each[:, :, : rows * cell, : columns * cell] for each in (bins, votes))
    row = torch.arange(rows * cell, device=bins.device).div(cell, rounding_mode="floor")
    column = torch.arange(columns * cell, device=bins.device).div(cell, rounding_mode="floor")
    place = (bins * rows + row[:, None]) * columns + column
    counted = votes.new_zeros(len(votes), orientations * rows * columns)
    counted = counted.scatter_add(1, place.flatten(1), votes.flatten(1))
    return counted.view(-1, orientations, rows, columns)


def _normalised_blocks(cells: Tensor, block: int) -> Tensor:
    """Return every block of cells with unit length, its entries cut at 0.2 (L2-Hys), N×features."""
    blocks = cells.unfold(2, block, 1).unfold(3, block, 1).permute(0, 2, 3, 4, 5, 1).flatten(3)
    cut = _unit(blocks).clamp(max=0.2)
    return _unit(cut).flatten(1)


def _unit(blocks: Tensor) -> Tensor:
    return blocks / torch.sqrt((blocks**2).sum(dim=-1, keepdim=True) + _EPSILON**2)
