"""TRIM: a defence without training, by the entropy of a prediction and its shift under a little noise.

Zhang et al. 2025, Adversarially Robust AI-Generated Image Detection for Free: An Information Theoretic Perspective
(arXiv:2505.22604) keep a standard detector and quantify how far an image's features have been shifted by two measures
of its prediction: its entropy, and the Kullback-Leibler divergence to the prediction on a randomly perturbed copy.

What of the paper's abstract leaves open was decided here, and may differ from the authors' code: the noise is
Gaussian, several fixed draws of it are averaged, the divergence is KL(p(x) ‖ p(x + noise)), an image counts as
adversarial where either measure passes its limit, and then the verdict is the other class, the only other one there
is. The limits are chosen on clean validation images (:func:`fit_trim`).

The draws are fixed, so that a verdict does not depend on batch, order or device; an attacker who knows the defence
knows them. Backwards the flip is smooth, so that a gradient attack on the wrapped detector is the adaptive one: it
sees the flip and steers clear of it.
"""

from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.outputs import as_columns, two_logits
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.scenario.trim_spec import TrimSpec


class Measures(NamedTuple):
    """Entropy of N predictions, at most log 2, and their mean divergence from those on noisy copies, in nats."""

    entropy: Tensor
    shift: Tensor


def trimmed(detector: Detector, spec: TrimSpec, name: str | None = None) -> Detector:
    """Return a detector that is defended by TRIM.

    Parameters
    ----------
    detector
        Not an ensemble, whose members can be defended.
    spec
        Noise, draws and limits.
    name
        Under which it is listed; ``+trim`` after the detector's where None.
    """
    defended = Detector.assembled(
        TrimmedNetwork(detector, spec),
        replace(detector.preprocessing, outputs="logits"),
        name=name or f"{detector.name}+trim",
        architecture=detector.architecture,
        weights_sha256=sha256(
            f"{detector.weights_sha256} trim {spec.model_dump_json()}".encode()
        ).hexdigest(),
        libraries=detector.libraries,
        borrows=detector.borrows,
    )
    if not detector.borrows:
        defended.to(detector.device)
    defended.assumptions, defended.declared = detector.assumptions, detector.declared
    defended.made_of = detector.made_of
    defended.differentiable = detector.differentiable
    return defended


def fit_trim(
    detector: Detector, levels: Tensor, spec: TrimSpec, *, rate: float = 0.02, batch_size: int = 64
) -> TrimSpec:
    """Return the limits that a given share of the clean images passes.

    Parameters
    ----------
    detector
        Without the defence.
    levels
        N×3×H×W uint8 clean validation images; their labels are not needed.
    spec
        Noise and draws.
    rate
        Share of the images that may lie above each limit.

    Returns
    -------
    TrimSpec
        With the limits.
    """
    network = TrimmedNetwork(detector, spec)
    with torch.no_grad():
        parts = [
            network.measures(detector.normalised(to_pixels(part.to(detector.device))))[0]
            for part in levels.split(batch_size)
        ]
    entropy, shift = (float(torch.cat(column).quantile(1 - rate)) for column in zip(*parts, strict=True))
    return spec.model_copy(update={"entropy": min(entropy, _MOST), "shift": shift})


_MOST = 0.6931
"""Entropy of a two-class prediction, at most log 2."""


class TrimmedNetwork(nn.Module):
    """A network whose verdict TRIM reverses on images that count as adversarial.

    Parameters
    ----------
    detector
        The detector whose network is used, with its own kind of outputs.
    spec
        Noise, draws and limits. The noise is in pixel units.
    """

    std: Tensor

    def __init__(self, detector: Detector, spec: TrimSpec) -> None:
        super().__init__()
        self.network, self.spec = detector.network, spec
        self._outputs, self._output = detector.preprocessing.outputs, detector.preprocessing.output
        self._name = detector.name
        self.register_buffer("std", cast(Tensor, detector.std).clone(), persistent=False)

    def measures(self, images: Tensor) -> tuple[Measures, Tensor]:
        """Return the measures of N normalised images, and their margins, second output over first."""
        margin = self._margin(images)
        log_p = _log_probabilities(margin)
        shifts = []
        for draw in range(self.spec.draws):
            noisy = _log_probabilities(self._margin(images + self._noise(images, draw)))
            shifts.append((log_p.exp() * (log_p - noisy)).sum(dim=1))
        entropy = -(log_p.exp() * log_p).sum(dim=1)
        return Measures(entropy, torch.stack(shifts).mean(dim=0)), margin

    def forward(self, images: Tensor) -> Tensor:
        """Return N×2 outputs."""
        found, margin = self.measures(images)
        held = (found.shift <= self.spec.shift) & (found.entropy <= self.spec.entropy)
        answer = torch.where(held, margin, -margin)
        # How surely an image stays below both limits; a gradient through the comparisons would be zero.
        shift = ((self.spec.shift - found.shift) / (_SOFTNESS * self.spec.shift)).sigmoid()
        entropy = ((self.spec.entropy - found.entropy) / (_SOFTNESS * self.spec.entropy)).sigmoid()
        smooth = margin * (2 * shift * entropy - 1)
        answer = smooth + (answer - smooth).detach()
        return torch.stack([torch.zeros_like(answer), answer], dim=1)

    def _margin(self, images: Tensor) -> Tensor:
        logits = two_logits(
            as_columns(self.network(images), self._name, len(images), self._output), self._outputs
        )
        return logits[:, 1] - logits[:, 0]

    def _noise(self, images: Tensor, draw: int) -> Tensor:
        # The same for every image, so that the result does not depend on the batch.
        generator = torch.Generator().manual_seed(1000 * self.spec.seed + draw)
        drawn = torch.randn(images.shape[1:], generator=generator)
        return self.spec.noise * drawn.to(images.device) / self.std


_SOFTNESS = 0.25
"""Width of the smooth flip, in limits."""


def _log_probabilities(margin: Tensor) -> Tensor:
    return torch.stack([functional.logsigmoid(-margin), functional.logsigmoid(margin)], dim=1)
