"""The image with the greatest margin that a score-based search has come across."""

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots
from robustbench_aigen.attacks.native.evaluation import Evaluation


class Kept:
    """Shared state of score-based searches, as :class:`Nearest` is for minimum-norm searches."""

    @staticmethod
    def start(current: Tensor) -> dict[str, Tensor]:
        """Return the state before the first query, whose candidate is ``current``."""
        margin = torch.full((len(current),), -torch.inf, device=current.device)
        return {"current": current, "kept": current, "kept_margin": margin}

    @staticmethod
    def note(slots: Slots, found: Evaluation) -> Tensor:
        """Keep the candidates whose margin is greater than that of the kept images, and return which they are."""
        better = found.margin > slots["kept_margin"]
        slots["kept"] = torch.where(better.view(-1, 1, 1, 1), slots["current"], slots["kept"])
        slots["kept_margin"] = torch.maximum(found.margin, slots["kept_margin"])
        return better
