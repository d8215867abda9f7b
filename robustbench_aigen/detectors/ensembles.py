"""Several detectors that answer as one."""

import math
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import cast

import torch
from torch import Tensor, nn

from robustbench_aigen.detectors.contract import FAKE, REAL, Detector
from robustbench_aigen.detectors.preprocessing import Preprocessing, mean_score
from robustbench_aigen.notices import about
from robustbench_aigen.scenario.detector_spec import Rule


class Ensemble(Detector):
    """Detectors with preprocessing of their own, whose logits become one pair of logits.

    Parameters
    ----------
    members
        At least two detectors on one device.
    rule
        ``mean_score`` averages the probabilities of fake, ``mean_logit`` the margins. ``majority`` takes the score
        that half of the members reach: its verdict at any threshold is that of most members at that threshold, a
        tie is fake, and its gradient is that of the member who decides.
    name
        The id under which records and tables list it.
    """

    def __init__(self, members: Sequence[Detector], rule: Rule, *, name: str) -> None:
        sizes = [member.preprocessing.input_size for member in members]
        largest = None if None in sizes else max((size for size in sizes if size is not None), key=math.prod)
        nn.Module.__init__(self)
        borrows = any(member.borrows for member in members)
        self._hold(
            nn.ModuleList(members),
            Preprocessing(largest),
            name=name,
            architecture=f"{rule} of {', '.join(member.architecture for member in members)}",
            libraries=tuple(sorted({library for member in members for library in member.libraries})),
            borrows=borrows,
        )
        self.rule = rule
        if not borrows:
            self.to(members[0].device)
        self._note_members()

    def _note_members(self) -> None:
        """Note what the members are like, together."""
        members = self.members
        self.assumptions = tuple(
            about(member.name, text) for member in members for text in member.assumptions
        )
        self.differentiable = all(member.differentiable for member in members)
        self.draws = any(member.draws for member in members)
        self.changes = tuple(f"{member.name}: {name}" for member in members for name in member.changes)

    @property
    def members(self) -> list[Detector]:
        """The detectors."""
        return [cast(Detector, member) for member in cast(nn.ModuleList, self.network)]

    def _hash_of_weights(self) -> str:
        hashes = [self.rule, *(member.weights_sha256 for member in self.members)]
        return sha256(" ".join(hashes).encode()).hexdigest()

    def networks(self) -> list[nn.Module]:
        """Return the networks of all members, those that torch does not see included."""
        return [network for member in self.members for network in member.networks()]

    def see(self, height: int, width: int) -> None:
        """Try the members that borrow a module of the user; as :meth:`Detector.see`."""
        if not self._is_tried:
            for member in self.members:
                member.see(height, width)
            self._note_members()
            self._is_tried = True

    def refresh(self) -> None:
        """Discard everything computed from the members; as :meth:`Detector.refresh`."""
        for member in self.members:
            member.refresh()
        super().refresh()

    def of(self, members: Sequence[Detector]) -> "Ensemble":
        """Return the same ensemble of other forms of its members."""
        other = Ensemble(members, self.rule, name=self.name)
        other.differentiable = self.differentiable
        return other

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 float32 logits (real, fake); as :meth:`Detector.forward`."""
        logits = torch.stack([member(pixels, sizes) for member in self.members])
        return _RULES[self.rule](logits)

    def answers_probabilities(self) -> bool:
        """Whether the combined answer is probabilities: it never is."""
        return False


def _mean_logit(logits: Tensor) -> Tensor:
    return logits.mean(dim=0)


def _majority(logits: Tensor) -> Tensor:
    margins = logits[:, :, FAKE] - logits[:, :, REAL]
    ranked = margins.sort(dim=0, descending=True).values
    decisive = ranked[(len(margins) + 1) // 2 - 1]
    return torch.stack([-decisive / 2, decisive / 2], dim=1)


_RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_score": mean_score,
    "mean_logit": _mean_logit,
    "majority": _majority,
}
