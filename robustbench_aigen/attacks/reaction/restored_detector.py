"""A detector with restored gradients, for searches to differentiate; verdicts are always the detector's own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.reaction.heads import Head, HeadOutputs
from robustbench_aigen.attacks.reaction.restoration import Parts, restored_gradients
from robustbench_aigen.detectors.contract import log_odds
from robustbench_aigen.detectors.thresholds import Threshold

_UNDECIDED = 1e-3
"""Nats of an answer on which the scores inside and the verdict disagree."""
_OTHERS = 0.3
"""Weight of all heads beside the middle one."""


class RestoredDetector(nn.Module):
    """The same verdicts, with gradients.

    Parameters
    ----------
    detector
        Pixels to N×2 logits.
    heads
        Outputs inside that replace the logits where a gradient is taken; none where the logits have a slope.
    threshold
        The detector's threshold.
    """

    def __init__(self, detector: nn.Module, heads: Sequence[Head], threshold: Threshold) -> None:
        super().__init__()
        # Not a submodule: the detector is borrowed, and its mode is not this module's to set.
        self._held = (detector, Parts.of(detector))
        self.heads, self.threshold = tuple(heads), threshold
        self.training = False

    def forward(self, pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return N×2 logits; ``sizes`` as in :meth:`Detector.forward`."""
        detector, inner = self._held
        given = (pixels,) if sizes is None else (pixels, sizes)
        if not torch.is_grad_enabled():
            logits: Tensor = detector(*given)
            return logits
        outputs = HeadOutputs(len(pixels))
        with restored_gradients(inner, outputs if self.heads else None):
            logits = detector(*given)
        if not self.heads:
            return logits
        soft = _majority(
            torch.stack([head.score(outputs.found[head.name, head.call]) for head in self.heads])
        )
        is_fake = log_odds(logits.detach()) >= self.threshold.log_odds
        side = torch.where(is_fake, _UNDECIDED, -_UNDECIDED)
        decided = torch.where((soft >= 0) == is_fake, soft, soft + (side - soft.detach()))
        return torch.stack([torch.zeros_like(decided), decided + self.threshold.log_odds], dim=1)


def _majority(scores: Tensor) -> Tensor:
    """Return N scores from those of H heads: the middle one has the sign of a vote, the others a share of the gradient."""
    return scores.quantile(0.5, dim=0) + _OTHERS * scores.tanh().mean(dim=0)
