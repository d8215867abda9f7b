"""The losses of the methods: Madry et al. 2018, Zhang et al. 2019, Wong et al. 2020, and clean training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.prepared import FollowingDetector
from robustbench_aigen.training.adversarial.file import Method
from robustbench_aigen.training.adversarial.search import (
    Loss,
    ascend,
    batch_statistics,
    start_in_budget,
    start_nearby,
)

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """A method on one detector.

    Parameters
    ----------
    method
        Which.
    threat
        With the full budget.
    detector
        In training.
    following
        The same detector, prepared for the search.
    label_smoothing
        Label smoothing of the training loss; the search uses the plain cross-entropy.
    """

    method: Method
    threat: ThreatModel
    detector: Detector
    following: FollowingDetector
    label_smoothing: float = 0.0

    def loss(
        self, forward: Forward, pixels: Tensor, labels: Tensor, eps: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of what it was trained on.

        Parameters
        ----------
        forward
            Pixels to logits, in training mode.
        pixels, labels
            N×3×H×W and N.
        eps
            The budget at this point of the training.
        generator
            Generator of the random start, on the CPU.
        """
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.method.name == "trades":
            return self._trades(forward, pixels, labels, eps, generator)
        clean = len(pixels) if self._searches_nothing(eps) else round(self.method.clean_share * len(pixels))
        inputs = pixels
        if clean < len(pixels):
            found = self._worst_case(pixels[clean:], labels[clean:], eps, generator)
            inputs = torch.cat([pixels[:clean], found])
        logits = forward(inputs).float()
        return self._cross_entropy(logits, labels), logits

    def found(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images of the method's search with the full budget; for ``standard`` the clean images."""
        if self._searches_nothing(self.threat.eps):
            return pixels
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return self._worst_case(pixels, labels, self.threat.eps, generator)

    def _searches_nothing(self, eps: float) -> bool:
        return self.method.name == "standard" or eps <= 0

    def _worst_case(self, pixels: Tensor, labels: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        threat = replace(self.threat, eps=eps)
        start = start_in_budget(pixels, threat, generator)
        return self._search(
            pixels, start, threat, lambda logits: functional.cross_entropy(logits, labels, reduction="sum")
        )

    def _trades(
        self, forward: Forward, pixels: Tensor, labels: Tensor, eps: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Zhang et al. 2019, equation 5, with the divergence and the start of their code."""
        threat, found = replace(self.threat, eps=eps), pixels
        if eps > 0:
            with self._searched() as network, torch.no_grad():
                target = network(pixels).float().softmax(dim=1)
            start = start_nearby(pixels, generator)
            found = self._search(pixels, start, threat, lambda logits: _divergence(logits, target))
        clean = forward(pixels).float()
        adversarial = forward(found).float()
        divergence = _divergence(adversarial, clean.softmax(dim=1)) / len(pixels)
        return self._cross_entropy(clean, labels) + self.method.beta * divergence, adversarial

    def _search(self, pixels: Tensor, start: Tensor, threat: ThreatModel, loss: Loss) -> Tensor:
        step_size = self.method.search_step_size(threat.eps, self.threat.eps)
        with self._searched() as network:
            return ascend(
                network, threat, pixels, start, loss, steps=self.method.search_steps, step_size=step_size
            )

    @contextmanager
    def _searched(self) -> Iterator[Detector]:
        if self.method.batch_norm == "train":
            with batch_statistics(self.detector):
                yield self.detector
        else:
            yield self.following.refresh()

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return the sum over N of KL(target ‖ softmax(logits)), both N×2."""
    return functional.kl_div(logits.log_softmax(dim=1), target, reduction="sum")
