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
    hard, soft = _votes(down.detach(), right.detach(), orientations), _shared_votes(down, right, orientations)
    # The value of the one, the gradient of the other.
    votes = soft + (hard - soft).detach()
    cells = functional.avg_pool2d(votes, cell) * cell**2
    return _normalised_blocks(cells, block).float()


def _differences(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences along rows and columns, zero at the edges, N×H×W each."""
    down = functional.pad(grey[:, 2:] - grey[:, :-2], (0, 0, 1, 1))
    right = functional.pad(grey[:, :, 2:] - grey[:, :, :-2], (1, 1))
    return down, right


def _votes(down: Tensor, right: Tensor, orientations: int) -> Tensor:
    """Return the strength of each pixel's edge in the bin of its direction, N×orientations×H×W."""
    degrees = (torch.atan2(down, right) * (180 / math.pi)).remainder(180)
    # remainder rounds a tiny negative angle up to 180 itself: no bin has it, there or here.
    bins = (degrees / (180 / orientations)).floor().long()
    one_hot = functional.one_hot(bins, orientations + 1)[..., :orientations]
    return one_hot.movedim(-1, 1) * torch.hypot(down, right)[:, None]


def _shared_votes(down: Tensor, right: Tensor, orientations: int) -> Tensor:
    """Return the same with each vote shared between the two directions nearest to the pixel's."""
    # Where there is no edge the direction has no gradient, and its absence must not become NaN.
    flat = (down == 0) & (right == 0)
    right = torch.where(flat, torch.ones_like(right) * 1e-12, right)
    strength = torch.sqrt(down**2 + right**2)
    position = torch.atan2(down, right) * (orientations / math.pi) - 0.5
    centres = torch.arange(orientations, device=down.device, dtype=down.dtype).view(1, -1, 1, 1)
    apart = (position[:, None] - centres + orientations / 2).remainder(orientations) - orientations / 2
    return (1 - apart.abs()).clamp(min=0) * strength[:, None]


def _normalised_blocks(cells: Tensor, block: int) -> Tensor:
    """Return every block of cells with unit length, its entries cut at 0.2 (L2-Hys), N×features."""
    blocks = cells.unfold(2, block, 1).unfold(3, block, 1).permute(0, 2, 3, 4, 5, 1).flatten(3)
    cut = _unit(blocks).clamp(max=0.2)
    return _unit(cut).flatten(1)


def _unit(blocks: Tensor) -> Tensor:
    return blocks / torch.sqrt((blocks**2).sum(dim=-1, keepdim=True) + _EPSILON**2)
