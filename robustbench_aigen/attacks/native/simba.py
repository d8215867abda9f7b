"""SimBA (Guo et al. 2019, Simple Black-box Adversarial Attacks, arXiv:1905.07121), algorithm 1, in the pixel basis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots, iterate
from robustbench_aigen.attacks.native.evaluation import Evaluation, Loss
from robustbench_aigen.attacks.native.kept import Kept
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.eight_bit import to_levels, to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams


def simba(task: AttackTask, *, steps: int, step_size: float) -> Iterator[AttackChunk]:
    """SimBA, L2 or L∞: ``steps`` queries, each with a step of ``step_size`` pixel units."""
    return iterate(task, SimBA(steps, step_size))


@dataclass
class SimBA:
    """One channel value of one pixel at a time, up or else down, kept where the margin grows.

    The order of the values is drawn once an image, without repetition; a query is an 8-bit image inside the budget.

    Parameters
    ----------
    evaluations
        Queries, the first of which is the image itself.
    step_size
        In pixel units, rounded to whole levels, at least one.
    """

    evaluations: int
    step_size: float
    restarts: int = 1
    loss: Loss = None
    minimum_norm: bool = False
    leaves_budget: bool = False

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Begin at the image."""

        def order(streams: SampleStreams, shape: Sequence[int]) -> NDArray[np.float64]:
            size = int(np.prod(shape))
            drawn = [streams.generator(row).permutation(size) for row in range(len(streams))]
            ranks = np.empty((len(streams), size))
            np.put_along_axis(ranks, np.stack(drawn), np.arange(size, dtype=float) + 1, axis=1)
            return ranks.reshape(len(streams), *shape)

        # Padding has rank 0 in no order: it comes last.
        ranks = task.draw(rows, restart, order).flatten(1)
        ranks = torch.where(ranks == 0, torch.inf, ranks)
        count = torch.zeros(len(clean), dtype=torch.long, device=clean.device)
        return {
            **Kept.start(clean),
            "order": ranks.argsort(dim=1)[:, : self.evaluations],
            "place": count,
            "is_down": torch.ones_like(count, dtype=torch.bool),
        }

    def update(self, task: AttackTask, slots: Slots, found: Evaluation) -> None:
        """Keep the candidate where the margin grew; then the same value downwards, or the next one upwards."""
        better = Kept.note(slots, found)
        kept = slots["kept"]
        go_down = ~better & ~slots["is_down"]
        slots["place"] = slots["place"] + (~go_down & (slots["step"] > 0).to(better.device))
        slots["is_down"] = go_down
        place = slots["place"] % slots["order"].shape[1]
        index = slots["order"].gather(1, place.view(-1, 1))
        size = max(1, round(self.step_size * 255)) / 255
        change = torch.where(go_down, -size, size).view(-1, 1)
        moved = kept.flatten(1).scatter_add(1, index, change).view_as(kept).clamp(0, 1)
        levels = task.threat.round(to_levels(slots["clean"]), task.threat.project(slots["clean"], moved))
        slots["current"] = to_pixels(levels)

    def outcome(self, slots: Slots) -> Tensor:
        """Return the image with the greatest margin."""
        return slots["kept"]
