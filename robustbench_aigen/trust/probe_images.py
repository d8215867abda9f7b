"""The images that checks probe a detector with, and their shared logits, gradients and attacks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import make_task, run_attack
from robustbench_aigen.detectors.contract import DeployedDetector, verdicts
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.seeding import SampleStreams, preserved_global_rng, seeded_global_rng
from robustbench_aigen.stages.stage import Attack


class InputGradients(NamedTuple):
    """The gradient of the margin to the pixels, N×3×H×W float32 on the CPU, and the margin, N float32 in nats."""

    gradients: Tensor
    margins: Tensor


@dataclass(frozen=True)
class ProbeImages:
    """Images that a detector judges right.

    Parameters
    ----------
    detector
        As attacks see it: the argmax of its logits is the verdict.
    levels
        N×3×H×W uint8 on the CPU.
    labels
        N labels, 0 real and 1 fake.
    streams
        The images' random streams.
    batch_size, device, precision
        The settings of the run.
    sizes
        N×2 heights and widths where the images differ: smaller ones are padded with black at the right and at the
        bottom. None where all are H×W.
    """

    detector: DeployedDetector
    levels: Tensor
    labels: Tensor
    streams: SampleStreams
    batch_size: int
    device: torch.device
    precision: Literal["fp32", "bf16"]
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.levels)

    def batches(self) -> Iterator[Tensor]:
        """Yield row numbers in batches, in order."""
        return iter(torch.arange(len(self)).split(self.batch_size))

    def answer(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Return the M×2 logits of M×3×H×W float32 pixels of some rows, both on the device."""
        return self.detector(pixels, None if self.sizes is None else self.sizes[rows])

    @torch.no_grad()
    def logits(self, levels: Tensor) -> Tensor:
        """Return N×2 float32 logits of N×3×H×W uint8 images, on the CPU."""
        parts = [self.answer(rows, to_pixels(levels[rows].to(self.device))).cpu() for rows in self.batches()]
        return torch.cat(parts)

    def margins(self, levels: Tensor) -> Tensor:
        """Return by how many nats the right class leads, N float32."""
        return _margin(self.logits(levels), self.labels)

    @cached_property
    def clean_logits(self) -> Tensor:
        """The logits of the clean images, N×2 float32 on the CPU."""
        return self.logits(self.levels)

    @cached_property
    def input_gradients(self) -> InputGradients:
        """The gradients of the images, shared by several checks.

        They are gradients of the margin, because a loss may be saturated although the detector is not; they are zero if
        the detector hides its input from autograd.
        """
        parts, margins = [], []
        # A detector that draws random numbers gives the same answer in any order of checks.
        with seeded_global_rng(f"input gradients of {' '.join(self.streams.samples)}"):
            for rows in self.batches():
                pixels = to_pixels(self.levels[rows].to(self.device)).requires_grad_()
                with torch.enable_grad():
                    margin = _margin(self.answer(rows, pixels), self.labels[rows].to(self.device))
                    hidden = not margin.requires_grad
                    gradient = (
                        None if hidden else torch.autograd.grad(margin.sum(), pixels, allow_unused=True)[0]
                    )
                parts.append(torch.zeros_like(pixels).detach() if gradient is None else gradient)
                margins.append(margin.detach())
        return InputGradients(torch.cat(parts).cpu(), torch.cat(margins).cpu())

    @cached_property
    def is_inside(self) -> Tensor:
        """The pixels that are not padding, N×H×W booleans."""
        height, width = self.levels.shape[2:]
        if self.sizes is None:
            return torch.ones(len(self), height, width, dtype=torch.bool)
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        return (rows < self.sizes[:, 0, None, None]) & (columns < self.sizes[:, 1, None, None])

    def held(self, stage: Attack) -> Tensor:
        """Attack the images and return which images keep the right verdict, N booleans."""
        task = make_task(
            stage,
            self.detector.detector,
            self.levels,
            self.labels,
            self.streams,
            threshold=self.detector.threshold,
            early_stop=True,
            batch_size=self.batch_size,
            device=self.device,
            precision=self.precision,
            sizes=self.sizes,
        )
        with preserved_global_rng():
            outcome = run_attack(stage, task, _ignore)
        return verdicts(outcome.log_odds, self.detector.threshold) == self.labels


def _ignore(images: int) -> None:
    del images


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    rows = torch.arange(len(labels), device=logits.device)
    return logits[rows, labels] - logits[rows, 1 - labels]
