"""One batch of images through a detector or an attack; runs, calls and predictions all use this module."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.adaptive import deliver
from robustbench_aigen.attacks.execution import AttackOutcome, make_task, run_attack
from robustbench_aigen.attacks.reaction.insight import Insight
from robustbench_aigen.attacks.task import AttackTask
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.remote.service import ServiceError
from robustbench_aigen.detectors.scoring import predict
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.detectors.trial import failure, size_hint
from robustbench_aigen.engine.sizes import padded, same_size
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.precision import Precision, resolve_precision
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.stages.stage import Attack


class AttackedBatch(NamedTuple):
    """Attacked images, N entries each.

    Parameters
    ----------
    outcome
        The attack's results: log-odds, norms, steps, queries.
    images
        3×H×W uint8 each, before the attack's ``through``.
    task
        The task that was searched.
    """

    outcome: AttackOutcome
    images: list[Tensor]
    task: AttackTask

    def delivered(self) -> list[Tensor]:
        """Return the images after ``through``, as the detector gets them."""
        return list(self.task.deliver_all(self.outcome.levels)) if self.task.through else self.images


def log_odds_of(
    detector: Detector,
    levels: Sequence[Tensor],
    names: Sequence[str],
    batch_size: int,
    device: torch.device,
) -> Tensor:
    """Return the log-odds of *fake* of uint8 images of any sizes, in float32, in fixed batches of one size.

    Raises
    ------
    UserError
        If the detector fails on images, of which ``names`` has the first.
    """
    result = torch.empty(len(levels))
    for rows in same_size(list(levels), range(len(levels))):
        images = [levels[row] for row in rows]
        try:
            result[rows] = predict(detector, images, batch_size, device)
        except Exception as error:
            if is_out_of_memory(error) or isinstance(error, ServiceError):
                raise
            sides = (images[0].shape[1], images[0].shape[2])
            hint = size_hint(detector, *sides)
            raise failure(detector, error, *sides, hint=hint, image=names[rows[0]]) from error
    return result


def delivered(
    attack: Attack, levels: Sequence[Tensor], streams: SampleStreams, batch_size: int
) -> list[Tensor]:
    """Return unattacked images after an attack's ``through``, as the detector gets them."""
    images = list(levels)
    for group in same_size(images, range(len(images))):
        for batch in torch.tensor(group).split(batch_size):
            stack, own = torch.stack([images[row] for row in batch]), streams.select(batch.tolist())
            for row, image in zip(batch.tolist(), deliver(attack.through, stack, own), strict=True):
                images[row] = image
    return images


def attack_batch(
    attack: Attack,
    detector: Detector,
    images: list[Tensor],
    labels: Tensor,
    streams: SampleStreams,
    *,
    threshold: Threshold,
    early_stop: bool,
    batch_size: int,
    device: torch.device,
    precision: Precision,
    surrogate: Detector | None,
    advance: Callable[[int], None],
    insight: Insight | None = None,
) -> AttackedBatch:
    """Attack images that may share a batch (:func:`robustbench_aigen.engine.sizes.attack_groups`).

    Parameters
    ----------
    attack, detector, surrogate
        The attack, the detector that it has to fool, and the detector that it is crafted on, if another.
    images, labels, streams
        N images 3×H×W uint8, N labels, and the random streams of the images.
    threshold, early_stop, batch_size, device, precision
        As for :class:`~robustbench_aigen.attacks.task.AttackTask`.
    advance
        Called with the number of newly finished images.
    insight
        How gradients of the detector are found; ``auto`` tries that on the images themselves where it is missing.
    """
    stack, sizes = padded(images)
    task = make_task(
        attack,
        detector,
        stack,
        labels,
        streams,
        threshold=threshold,
        early_stop=early_stop,
        batch_size=batch_size,
        device=device,
        precision=resolve_precision(precision, device),
        sizes=sizes,
        surrogate=surrogate,
        insight=insight,
    )
    outcome = run_attack(attack, task, advance)
    attacked = [
        image[:, :height, :width]
        for image, (height, width) in zip(outcome.levels, task.image_sizes(), strict=True)
    ]
    return AttackedBatch(outcome, attacked, task)
