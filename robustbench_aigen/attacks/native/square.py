"""Square (Andriushchenko et al. 2020, arXiv:1912.00049), algorithms 1 and 2: a score-based attack by random search.

The L2 version has moves of its own: :mod:`robustbench_aigen.attacks.native.square_l2`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.kept import Kept
from robustbench_aigen.attacks.native.square_l2 import SquareL2
from robustbench_aigen.attacks.native.square_schedule import share_at
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.seeding import SampleStreams


def square(task: AttackTask, *, steps: int, p_init: float) -> Iterator[AttackChunk]:
    """Square, L∞ or L2: ``steps`` queries, ``p_init`` is the first share of pixels in a square."""
    search = Square if task.threat.norm == "linf" else SquareL2
    return iterate(task, search(steps, p_init))


@dataclass
class Square:
    """Vertical stripes first, then one square an image and query, kept where the margin grows.

    Everything stays on the 8-bit grid: a query is an image that could be uploaded.

    Parameters
    ----------
    evaluations
        Queries.
    p_init
        First share of pixels in a square.
    """

    evaluations: int
    p_init: float
    restarts: int = 1
    loss: Loss = None
    minimum_norm: bool = False
    leaves_budget: bool = False

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin with stripes of full strength."""

        def stripes(streams: SampleStreams, shape: Sequence[int]) -> NDArray[np.float64]:
            signs = np.sign(streams.uniform(-1, 1, (3, 1, shape[2])))
            return np.broadcast_to(signs, (len(streams), *shape)).copy()

        levels = task.threat.levels / LEVELS
        current = (clean + levels * task.draw(rows, restart, stripes)).clamp(0, 1)
        # Position and colour of every square to come, from a stream of its own.
        own = task.try_streams(rows, 1000 + restart)
        draws = torch.from_numpy(own.uniform(0, 1, (self.evaluations, 5)))
        return {
            **Kept.start(current),
            "draws": draws.float().to(clean.device),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Keep the candidate where the margin grew, and propose the next."""
        Kept.note(slots, found)
        kept, clean, step = slots["kept"], slots["clean"], slots["step"]
        drawn = slots["draws"][torch.arange(len(kept)), step.to(kept.device)]
        inside = self._window(task, slots, drawn[:, :2])
        colours = (drawn[:, 2:] >= 0.5).float() * 2 - 1
        filled = (clean + task.threat.levels / LEVELS * colours.view(-1, 3, 1, 1)).clamp(0, 1)
        slots["current"] = torch.where(inside, filled, kept)

    def outcome(self, slots: Slots) -> Tensor:
        """Return the image with the greatest margin."""
        return slots["kept"]

    def _window(self, task: AttackTask, slots: Slots, drawn: Tensor) -> Tensor:
        """Return N×1×H×W: which pixels are in the next square of each image."""
        device = drawn.device
        height, width = task.levels.shape[2:]
        heights, widths = task.sides(slots["rows"])
        share = share_at(slots["step"] + 1, self.evaluations, self.p_init)
        side = (share * task.open_area(slots["rows"])).sqrt().round()
        side = torch.minimum(side.clamp(min=1), torch.minimum(heights, widths) - 1).clamp(min=1)
        top, left = (value.to(device) for value in task.corners(slots["rows"], drawn.cpu(), side))
        side = side.to(device)
        row = torch.arange(height, device=device).view(1, 1, -1, 1)
        column = torch.arange(width, device=device).view(1, 1, 1, -1)
        top, left, side = (value.view(-1, 1, 1, 1) for value in (top, left, side))
        return (row >= top) & (row < top + side) & (column >= left) & (column < left + side)
