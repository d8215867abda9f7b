"""Input and output of every attack: :class:`AttackTask` and :class:`AttackChunk`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.attacks.adaptive import deliver, stage_streams, through_stage
from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import DeployedDetector, Detector, verdicts
from robustbench_aigen.detectors.prepared import prepare
from robustbench_aigen.detectors.scoring import laid_out, predict_as_laid_out
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.margins import margin_of
from robustbench_aigen.numerics.seeding import SampleStreams, draw_padded
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.stage import Perturbation


@dataclass(frozen=True)
class AttackTask:
    """The input of an attack: images, labels, detector, budget and random streams.

    Parameters
    ----------
    detector
        The judged function: pixels to logits whose argmax is the verdict, on ``device``, in evaluation mode.
    source_model
        The function that the search attacks: the same, or a surrogate.
    prepared
        The function that the search differentiates: ``source_model`` prepared for gradients.
    levels
        N×3×H×W uint8 on the CPU: the attack's starting point and the centre of its budget.
    labels
        N labels, 0 real and 1 fake: the verdicts that the attack has to change.
    streams
        The images' random streams.
    threat
        Norm and budget.
    params
        The bound parameters of the stage, which the adapters of libraries read.
    early_stop
        Whether an image is finished once its 8-bit version is fooled. Right for accuracy when the attack is the
        last stage; otherwise every image gets every step.
    batch_size, device
        Images per batch, and the device.
    sizes
        N×2 heights and widths where the images differ: smaller ones are padded with black at the right and at the
        bottom, which no attack changes. None where all are H×W.
    through
        Perturbations between the attack and the detector, inside the attacked function.
    eot
        Random draws of ``through`` that a gradient is averaged over.
    first_try
        Number of the first restart: attacks that share a task draw different noise.
    mask
        The pixels that the attack may change, N×1×H×W booleans on the CPU; None for all.
    insight
        How gradients of the detector are found; None where that was not tried.
    answers_vary
        Whether the detector answers the same image differently from call to call, and the attack takes means.
    """

    detector: DeployedDetector
    source_model: DeployedDetector
    prepared: DeployedDetector
    levels: Tensor
    labels: Tensor
    streams: SampleStreams
    threat: ThreatModel
    params: Mapping[str, Value]
    early_stop: bool
    batch_size: int
    device: torch.device
    sizes: Tensor | None = None
    through: tuple[Perturbation, ...] = ()
    eot: int = 1
    first_try: int = 0
    mask: Tensor | None = None
    insight: Insight | None = None
    answers_vary: bool = False

    def batches(self) -> Iterator[Tensor]:
        """Yield row numbers in batches, in order."""
        return iter(torch.arange(len(self.levels)).split(self.batch_size))

    def pixels(self, rows: Tensor) -> Tensor:
        """Return the float32 pixels of some rows, on the device."""
        return to_pixels(self.levels[rows].to(self.device))

    def masked(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Return M×3×H×W pixels of some rows with the clean pixels outside the mask."""
        if self.mask is None:
            return pixels
        return torch.where(self.mask[rows].to(pixels.device), pixels, self.pixels(rows))

    def open_area(self, rows: Tensor) -> Tensor:
        """Return how many pixel positions a search may change in some images, M whole numbers on the CPU."""
        if self.mask is None:
            heights, widths = self.sides(rows)
            return heights * widths
        return self.mask[rows].flatten(1).sum(dim=1)

    def corners(self, rows: Tensor, drawn: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Return top and left of square windows at random places of some images, M whole numbers each, on the CPU.

        Parameters
        ----------
        rows
            M row numbers.
        drawn
            M×2 numbers in [0, 1), on the CPU.
        side
            M sides in pixels, no longer than the image's. In a mask, each window contains a pixel of the mask.
        """
        heights, widths = self.sides(rows)
        if self.mask is None:
            return (drawn[:, 0] * (heights - side + 1)).floor(), (drawn[:, 1] * (widths - side + 1)).floor()
        masks = self.mask[rows].flatten(1)
        rank = drawn[:, 0].double() * masks.sum(dim=1)
        place = torch.searchsorted(masks.cumsum(dim=1), (rank.floor().long() + 1).view(-1, 1)).flatten()
        row, column = place // self.mask.shape[3], place % self.mask.shape[3]
        top = (row - (rank.frac() * side).floor()).clamp(min=0)
        left = (column - (drawn[:, 1] * side).floor()).clamp(min=0)
        return torch.minimum(top, heights - side).float(), torch.minimum(left, widths - side).float()

    def restricted(self, rows: Tensor, params: Mapping[str, Value], first_try: int) -> "AttackTask":
        """Return the task of some rows, with separate noise, for another attack."""
        return replace(
            self,
            levels=self.levels[rows],
            labels=self.labels[rows],
            streams=self.streams.select(rows.tolist()),
            sizes=None if self.sizes is None else self.sizes[rows],
            params=params,
            first_try=first_try,
            mask=None if self.mask is None else self.mask[rows],
        )

    def try_streams(self, rows: Tensor, restart: int) -> SampleStreams:
        """Return new random streams of some rows for one try."""
        return self.streams.select(rows.tolist()).for_restart(self.first_try + restart)

    def draw(
        self, rows: Tensor, restart: int, draw: Callable[[SampleStreams, Sequence[int]], NDArray[np.float64]]
    ) -> Tensor:
        """Draw noise of one try for some rows, on the device, as :func:`draw_padded` does; zero outside the mask."""
        sizes = None if self.sizes is None else self.sizes[rows]
        shape = tuple(self.levels.shape[1:])
        noise = draw_padded(self.try_streams(rows, restart), shape, sizes, draw)
        return (noise if self.mask is None else noise * self.mask[rows]).to(self.device)

    def logits(
        self, rows: Tensor, pixels: Tensor, *, draws: Sequence[int] | None = None, for_gradient: bool
    ) -> Tensor:
        """Return M×2 float32 logits of the attacked function, whose argmax is the verdict.

        Parameters
        ----------
        rows
            M row numbers.
        pixels
            M×3×H×W float32 on the device.
        draws
            Number of the random draw of ``through`` for each image: 0, the default, is the draw that is judged.
        for_gradient
            Whether the result is differentiated, in the precision of the task, or a query, in float32.
        """
        pixels = self.masked(rows, pixels)
        for position, stage in enumerate(self.through):
            streams = stage_streams(self.streams.select(rows.tolist()), position, draws)
            pixels = through_stage(stage, pixels, streams)
        module = self.prepared if for_gradient else self.queried
        logits: Tensor = module(pixels) if self.sizes is None else module(pixels, self.sizes[rows])
        return logits.float()

    @cached_property
    def queried(self) -> DeployedDetector:
        """The function that the search queries: ``source_model`` in its fastest float32 form, made at the first query.

        Wrappers of a detector are called unchanged. A success is judged on ``detector`` itself.
        """
        module = self.source_model.detector
        fast = prepare(module, "fp32") if isinstance(module, Detector) else module
        return DeployedDetector(fast, self.source_model.threshold)

    @cached_property
    def _judging(self) -> nn.Module:
        """The judging detector in its fastest form; no attack may change its weights."""
        return laid_out(self.detector.detector)

    @property
    def is_random(self) -> bool:
        """Whether a random operation lies between the attack and the detector, or the detector itself is random."""
        return self.answers_vary or any(stage.recipe.random for stage in self.through)

    @property
    def knows_the_verdict(self) -> bool:
        """Whether the attack can see the verdict: not on a surrogate, and not with random operations in between."""
        return self.source_model is self.detector and not self.is_random

    def seen_margin(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Return M margins of the attacked function on the CPU, by which a search ranks what it has found.

        Over random stages the mean of draws that neither the judge nor a gradient sees.
        """
        draws = [[-1 - number] for number in range(self.eot)] if self.is_random else [None]
        parts = []
        with torch.no_grad():
            for part in torch.arange(len(rows)).split(self.batch_size):
                labels, some = self.labels[rows[part]].to(self.device), pixels[part.to(pixels.device)]
                logits = [
                    self.logits(rows[part], some, draws=draw and draw * len(part), for_gradient=False)
                    for draw in draws
                ]
                parts.append(torch.stack([margin_of(each, labels) for each in logits]).mean(dim=0).cpu())
        return torch.cat(parts)

    def deliver(self, rows: Tensor, levels: Tensor) -> Tensor:
        """Return M×3×H×W uint8 images after the real ``through`` operations, on the CPU."""
        return deliver(self.through, levels, self.streams.select(rows.tolist()))

    def deliver_all(self, levels: Tensor) -> Tensor:
        """Return all images of the task after the real ``through`` operations, batch by batch."""
        if not self.through:
            return levels
        return torch.cat([self.deliver(rows, levels[rows]) for rows in self.batches()])

    def image_sizes(self) -> list[tuple[int, int]]:
        """Return the heights and widths of the images."""
        if self.sizes is None:
            return [(self.levels.shape[2], self.levels.shape[3])] * len(self.levels)
        return [(height, width) for height, width in self.sizes.tolist()]

    def sides(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the heights and the widths of some images, M whole numbers each, on the CPU."""
        if self.sizes is None:
            height, width = self.levels.shape[2:]
            return torch.full((len(rows),), height), torch.full((len(rows),), width)
        heights, widths = self.sizes[rows].unbind(dim=1)
        return heights, widths

    def log_odds_of_levels(self, rows: Tensor, levels: Tensor) -> Tensor:
        """Return the log-odds of *fake* of M×3×H×W uint8 images, in float32, after the real ``through``: the verdicts."""
        if self.through:
            levels = self.deliver(rows, levels.cpu())
        sizes = None if self.sizes is None else self.sizes[rows]
        return predict_as_laid_out(self._judging, levels, self.batch_size, self.device, sizes)

    def log_odds(self, rows: Tensor, adversarial: Tensor) -> Tensor:
        """Return the log-odds of *fake* of the 8-bit versions of float pixels.

        Parameters
        ----------
        rows
            M row numbers.
        adversarial
            M×3×H×W float32 pixels on the device.

        Returns
        -------
        Tensor
            M float32 log-odds on the CPU.
        """
        return self.log_odds_of_levels(
            rows, self.threat.round(self.levels[rows].to(self.device), self.masked(rows, adversarial))
        )

    def is_fooled(self, rows: Tensor, log_odds: Tensor) -> Tensor:
        """Whether log-odds of some rows mean the wrong verdict, M booleans on the CPU."""
        # NaN is not a verdict, so it cannot be a wrong verdict.
        return (verdicts(log_odds, self.detector.threshold) != self.labels[rows]) & ~log_odds.isnan()


class AttackChunk(NamedTuple):
    """The output of an attack: finished images, in any order.

    ``rows`` are M row numbers, ``pixels`` M×3×H×W float32, ``steps`` and ``queries`` M counts: iterations taken,
    and images put through the attacked function. ``log_odds`` are those of the 8-bit versions
    (:meth:`AttackTask.log_odds`) where the attack stopped because they are fooled; None where it just ended.
    ``chains`` are the perturbations that made each image, as stages of a scenario; None for other attacks.
    ``found_by`` names the part of the attack that made each image, or why no part did; None for attacks of one part.
    """

    rows: Tensor
    pixels: Tensor
    steps: Tensor
    queries: Tensor
    log_odds: Tensor | None = None
    chains: tuple[str, ...] | None = None
    found_by: tuple[str, ...] | None = None

    @classmethod
    def joined(cls, chunks: Sequence["AttackChunk"]) -> "AttackChunk":
        """Return several chunks as one; either all have log-odds, chains or parts, or none has."""
        rows, pixels, steps, queries, odds, chains, parts = zip(*chunks, strict=True)
        joined = None if odds[0] is None else torch.cat(odds)
        return cls(
            torch.cat(rows), torch.cat(pixels), torch.cat(steps), torch.cat(queries), joined, _joined(chains), _joined(parts)
        )  # fmt: skip


def _joined(parts: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    return None if parts[0] is None else tuple(text for part in parts for text in part or ())


AttackFunction = Callable[..., Iterator[AttackChunk]]
"""A native attack: the task, and the other parameters of its recipe by keyword."""
