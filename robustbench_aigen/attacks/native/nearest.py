"""The nearest image beyond the boundary that a minimum-norm search has come across."""

import torch
from torch import Tensor

from robustbench_aigen.attacks.native.active_set import Slots
from robustbench_aigen.attacks.threat_model import ThreatModel


class Nearest:
    """Shared state of minimum-norm searches."""

    @staticmethod
    def start(clean: Tensor) -> dict[str, Tensor]:
        """Return the state before anything is found."""
        return {"near": clean, "near_distance": torch.full((len(clean),), torch.inf, device=clean.device)}

    @staticmethod
    def note(threat: ThreatModel, slots: Slots, margin: Tensor) -> Tensor:
        """Keep the current pixels of images that are beyond the boundary and nearer than before.

        Returns
        -------
        Tensor
            N booleans: which are beyond the boundary.
        """
        beyond = margin > 0
        distance = threat.distance(slots["clean"], slots["current"])
        nearer = beyond & (distance < slots["near_distance"])
        slots["near"] = torch.where(nearer.view(-1, 1, 1, 1), slots["current"], slots["near"])
        slots["near_distance"] = torch.where(nearer, distance, slots["near_distance"])
        return beyond

    @staticmethod
    def outcome(slots: Slots) -> Tensor:
        """Return the nearest image beyond the boundary; where none was found, the current one."""
        found = slots["near_distance"].isfinite().view(-1, 1, 1, 1)
        return torch.where(found, slots["near"], slots["current"])
