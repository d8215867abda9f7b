"""Square in the L2 norm (Andriushchenko et al. 2020, arXiv:1912.00049, algorithm 3): length moves between windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.kept import Kept
from robustbench_aigen.attacks.native.square_schedule import share_at
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.numerics.seeding import SampleStreams

_TILES = 5
"""Tiles a side of the first perturbation."""
_SMALLEST = 3
"""Pixels a side of the smallest window."""


@dataclass
class SquareL2:
    """A grid of bumps first; then in each query one window loses its perturbation to another, of another shape.

    Queries are float images: on the 8-bit grid a bump would lose the tail that makes it work.

    Parameters
    ----------
    evaluations
        Queries.
    p_init
        First share of pixels in a window.
    """

    evaluations: int
    p_init: float
    restarts: int = 1
    loss: Loss = None
    minimum_norm: bool = False
    leaves_budget: bool = False

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin with tiles of bumps of random signs, scaled to the budget; in a mask, with random signs alone."""
        heights, widths = task.sides(rows)
        draws = torch.from_numpy(
            task.try_streams(rows, 1000 + restart).uniform(0, 1, (self.evaluations, 8))
        ).float()

        if task.mask is not None:
            # The tiles lie in the middle of the image, where a mask may have nothing.
            noise = task.draw(rows, restart, lambda own, shape: np.sign(own.uniform(-1, 1, shape)))
            return {**Kept.start(_filled(clean, noise, task.threat.eps)), "draws": draws.to(clean.device)}

        def signs(streams: SampleStreams, shape: Sequence[int]) -> NDArray[np.float64]:
            drawn = np.sign(streams.uniform(-1, 1, (3, _TILES, _TILES)))
            side = max(1, min(shape[1:]) // _TILES)
            tiled = np.kron(drawn, np.ones((side, side)))
            whole = np.zeros((len(streams), *shape))
            # In the middle; of an image narrower than the tiles, the middle of them.
            middles = [(length - tiled.shape[2]) // 2 for length in shape[1:]]
            there = [slice(max(0, middle), middle + tiled.shape[2]) for middle in middles]
            part = [
                slice(max(0, -m), max(0, -m) + length) for m, length in zip(middles, shape[1:], strict=True)
            ]
            whole[:, :, *there] = tiled[:, :, *part]
            return whole

        side = torch.minimum(heights, widths).div(_TILES, rounding_mode="floor").clamp(min=1)
        top, left = (heights - _TILES * side) // 2, (widths - _TILES * side) // 2
        row, column = _coordinates(task, top, left, side)
        bumps = bump(row % side.view(-1, 1, 1, 1), column % side.view(-1, 1, 1, 1), side)
        delta = bumps.to(clean.device) * task.draw(rows, restart, signs)
        current = _filled(clean, delta, task.threat.eps)
        return {
            **Kept.start(current),
            "draws": draws.to(clean.device),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Keep the candidate where the margin grew, and propose the next."""
        Kept.note(slots, found)
        kept, clean = slots["kept"], slots["clean"]
        delta = kept - clean
        step = slots["step"]
        drawn = slots["draws"][torch.arange(len(kept)), step.to(kept.device)].cpu()
        heights, widths = task.sides(slots["rows"])
        share = share_at(step + 1, self.evaluations, self.p_init)
        side = (share * task.open_area(slots["rows"])).sqrt().round().long().clamp(min=_SMALLEST)
        side = torch.minimum(side + (side % 2 == 0), torch.minimum(heights, widths) - 1).clamp(min=1)
        gaining, shape = self._window(task, slots["rows"], drawn[:, :2], drawn[:, 7], side)
        losing, _ = self._window(task, slots["rows"], drawn[:, 2:4], drawn[:, 7], side)
        gaining, losing, shape = (value.to(kept.device) for value in (gaining, losing, shape))
        signs = ((drawn[:, 4:7] >= 0.5).float() * 2 - 1).view(-1, 3, 1, 1).to(kept.device)
        inside = delta * gaining
        fresh = shape * signs + inside / _length(inside).clamp(min=1e-10)
        # The perturbation of both windows and the budget freed by clipping, divided among the channels.
        left_over = (task.threat.eps**2 - delta.square().sum(dim=(1, 2, 3), keepdim=True)).clamp(min=0) / 3
        available = (left_over + (delta * (gaining | losing)).square().sum(dim=(2, 3), keepdim=True)).sqrt()
        fresh = fresh / _length(fresh).clamp(min=1e-10) * available
        moved = torch.where(gaining, fresh, torch.where(losing, 0, delta))
        if task.mask is not None:
            moved = moved * task.mask[slots["rows"]].to(moved.device)
        slots["current"] = _filled(clean, moved, task.threat.eps)

    def outcome(self, slots: Slots) -> Tensor:
        """Return the image with the greatest margin."""
        return slots["kept"]

    @staticmethod
    def _window(
        task: AttackTask, rows: Tensor, drawn: Tensor, turned: Tensor, side: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return N×1×H×W: which pixels are in a window of each image, and a bump there, lying or standing."""
        top, left = (value.long() for value in task.corners(rows, drawn, side))
        row, column = _coordinates(task, top, left, side)
        within = (
            (row >= 0) & (row < side.view(-1, 1, 1, 1)) & (column >= 0) & (column < side.view(-1, 1, 1, 1))
        )
        lies = (turned >= 0.5).view(-1, 1, 1, 1)
        shape = bump(torch.where(lies, row, column), torch.where(lies, column, row), side) * within
        return within, shape / _length(shape).clamp(min=1e-10)


def bump(row: Tensor, column: Tensor, side: Tensor) -> Tensor:
    """Return the paper's η: two halves of opposite sign, each highest in its middle, falling off like 1/distance².

    Parameters
    ----------
    row, column
        N×1×H×W whole numbers: places in a window; what lies outside it has no meaning.
    side
        N sides of the windows in pixels.

    Returns
    -------
    Tensor
        N×1×H×W float32, not normalised.
    """
    side = side.view(-1, 1, 1, 1)
    upper = side // 2
    is_upper = row < upper
    height = torch.where(is_upper, upper, side - upper)
    local = torch.where(is_upper, row, row - upper)
    middle_row, middle_column = height // 2, side // 2
    distance = torch.maximum((local - middle_row).abs(), (column - middle_column).abs())
    rings = torch.maximum(middle_row, middle_column) + 1
    # Sums of 1/(k + 1)² over the rings from a pixel's own outwards.
    table = torch.cat(
        [torch.zeros(1), (1 / torch.arange(1, int(rings.max()) + 1).double() ** 2).cumsum(0).float()]
    )
    height_of = table[rings] - table[torch.minimum(distance, rings)]
    return torch.where(is_upper, height_of, -height_of)


def _coordinates(task: AttackTask, top: Tensor, left: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
    """Return N×1×H×W rows and columns counted from a window's corner."""
    height, width = task.levels.shape[2:]
    shape = (len(side), 1, height, width)
    row = torch.arange(height).view(1, 1, -1, 1) - top.view(-1, 1, 1, 1)
    column = torch.arange(width).view(1, 1, 1, -1) - left.view(-1, 1, 1, 1)
    return row.expand(shape), column.expand(shape)


def _length(values: Tensor) -> Tensor:
    """Return the Euclidean length over the positions of each channel, N×C×1×1."""
    return values.square().sum(dim=(2, 3), keepdim=True).sqrt()


def _filled(clean: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Scale a perturbation to the budget and clip the image."""
    length = delta.flatten(1).norm(dim=1).clamp(min=1e-10).view(-1, 1, 1, 1)
    return (clean + delta / length * eps).clamp(0, 1)
