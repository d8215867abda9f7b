"""What every attack is given and what it gives back, whoever computes it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import DeployedDetector, predict, verdicts
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.scenario.parameters import Value


@dataclass(frozen=True)
class AttackTask:
    """Images of one size to be attacked.

    Parameters
    ----------
    detector
        Pixels to logits whose argmax is the verdict; on ``device``, in evaluation mode.
    levels
        N×3×H×W uint8 on the CPU: the attack's starting point and the centre of its budget.
    labels
        N labels, 0 real and 1 fake: what the attack argues against.
    streams
        The images' random streams.
    threat
        Norm and budget.
    params
        The bound parameters of the stage.
    early_stop
        Whether an image is finished once its 8-bit version is fooled. Right for accuracy when the attack is the
        last stage; otherwise every image gets every step.
    batch_size, device, precision
        How to compute.
    """

    detector: DeployedDetector
    levels: Tensor
    labels: Tensor
    streams: SampleStreams
    threat: ThreatModel
    params: Mapping[str, Value]
    early_stop: bool
    batch_size: int
    device: torch.device
    precision: Literal["fp32", "bf16"]

    def batches(self) -> Iterator[Tensor]:
        """Yield row numbers in batches, in order."""
        return iter(torch.arange(len(self.levels)).split(self.batch_size))

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the float32 pixels of some rows, on the device."""
        return to_pixels(self.levels[rows].to(self.device))

    def score(self, rows: Tensor, adversarial: Tensor) -> Tensor:
        """Score the 8-bit versions of float pixels in float32: what every verdict rests on.

        Parameters
        ----------
        rows
            M row numbers.
        adversarial
            M×3×H×W float32 pixels on the device.

        Returns
        -------
        Tensor
            M float32 scores on the CPU.
        """
        rounded = self.threat.round(self.levels[rows].to(self.device), adversarial)
        return predict(self.detector.detector, rounded, self.batch_size, self.device)

    def is_fooled(self, rows: Tensor, score: Tensor) -> Tensor:
        """Whether scores of some rows mean the wrong verdict, M booleans on the CPU."""
        return verdicts(score, self.detector.threshold) != self.labels[rows]


class AttackChunk(NamedTuple):
    """Finished images, in whatever order an attack finishes them.

    ``rows`` are M row numbers, ``pixels`` M×3×H×W float32, ``steps`` and ``queries`` M counts: iterations taken,
    and images put through the detector. ``score`` are the scores of the 8-bit versions (:meth:`AttackTask.score`)
    where the attack stopped because they are fooled, and so are the float pixels; None where it just ended.
    """

    rows: Tensor
    pixels: Tensor
    steps: Tensor
    queries: Tensor
    score: Tensor | None = None


Attack = Callable[[AttackTask], Iterator[AttackChunk]]
