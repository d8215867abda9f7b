"""The loop of an iterated gradient attack: a full batch of unfinished images, refilled from the queue.

An image leaves as soon as its 8-bit version is fooled (where early stopping is right) or its steps are used up,
and the next image of the shard takes its place. With early stopping off the batches are those of a plain loop.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.precision import gradient_precision

Start = Callable[[AttackTask, Tensor, int], Tensor]
"""(task, rows, restart) → starting pixels of those rows, on the device."""
Update = Callable[[AttackTask, Tensor, Tensor, Tensor], Tensor]
"""(task, clean, current, gradient of the loss) → next pixels, inside the budget."""


@dataclass
class _Slots:
    """State of the images in the batch; every field has one entry an image."""

    rows: Tensor
    clean: Tensor
    current: Tensor
    labels: Tensor
    step: Tensor
    taken: Tensor
    queries: Tensor
    restart: Tensor
    best: Tensor
    best_loss: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: Tensor) -> "_Slots":
        """Keep the images that a boolean CPU mask names."""
        return _Slots(*(getattr(self, f.name)[chosen.to(getattr(self, f.name).device)] for f in fields(self)))

    def joined(self, other: "_Slots") -> "_Slots":
        return _Slots(*(torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def chunk(self, pixels: Tensor, score: Tensor | None = None) -> AttackChunk:
        return AttackChunk(self.rows, pixels, self.taken, self.queries, score)


def iterate(
    task: AttackTask, *, steps: int, restarts: int, start: Start, update: Update
) -> Iterator[AttackChunk]:
    """Run an iterated attack on a task and yield images as they finish.

    Parameters
    ----------
    task
        Images, labels, detector and budget.
    steps
        Updates per restart.
    restarts
        Tries per image. With early stopping an image stops at its first success; without, a success is kept, or
        else the try with the highest loss.
    start, update
        Where a try begins, and one step of it.
    """
    queue = deque(range(len(task.levels)))
    slots: _Slots | None = None
    while queue or slots is not None:
        space = task.batch_size - (len(slots) if slots is not None else 0)
        # With early stopping off nobody leaves before the batch is through, so batches are never mixed.
        if queue and space > 0 and (slots is None or task.early_stop):
            fresh = _fresh(task, [queue.popleft() for _ in range(min(space, len(queue)))], start)
            slots = fresh if slots is None else slots.joined(fresh)
        assert slots is not None
        gradient, logits = _gradient(task, slots)
        slots.queries += 1
        if task.early_stop:
            fooled, score = _verified(task, slots, logits)
            if fooled.any():
                leaving = slots.select(fooled)
                yield leaving.chunk(leaving.current, score)
                gradient = gradient[(~fooled).to(gradient.device)]
                slots = slots.select(~fooled)
        if len(slots):
            slots.current = update(task, slots.clean, slots.current, gradient)
            slots.step += 1
            slots.taken += 1
            slots, finished = _finish(task, slots, steps, restarts, start)
            yield from finished
        if not len(slots):
            slots = None


def _fresh(task: AttackTask, rows: list[int], start: Start) -> _Slots:
    index = torch.tensor(rows)
    clean, current = task.pixels(index), start(task, index, 0)
    count = torch.zeros(len(rows), dtype=torch.long)
    return _Slots(
        index,
        clean,
        current,
        task.labels[index].to(task.device),
        count,
        count.clone(),
        count.clone(),
        count.clone(),
        clean,
        torch.full((len(rows),), -torch.inf),
    )


def _gradient(task: AttackTask, slots: _Slots) -> tuple[Tensor, Tensor]:
    current = slots.current.detach()
    if task.precision == "bf16":
        # Reduced-precision convolutions run on channels-last tensors; float32 keeps the plain layout of the libraries.
        current = current.contiguous(memory_format=torch.channels_last)
    current.requires_grad_()
    with torch.enable_grad(), gradient_precision(task.precision, task.device):
        logits = task.detector(current)
        # The mean, as in torchattacks: its last bit decides the sign of a gradient that is all but zero.
        (gradient,) = torch.autograd.grad(_losses(logits.float(), slots.labels).mean(), current)
    return gradient.contiguous(), logits.detach()


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return N losses: the cross-entropy, or where that is saturated, the margin of the wrong class over the right.

    With two classes the cross-entropy is a rising function of the margin, so both have the same gradient but for
    its length, which no step depends on. A confident detector's cross-entropy has a gradient that float32 cannot
    hold, and an attack that follows it stands still (Carlini and Wagner 2017, section VIII, on saturated networks).
    """
    wrong, right = logits.gather(1, 1 - labels[:, None])[:, 0], logits.gather(1, labels[:, None])[:, 0]
    margin = wrong - right
    return torch.where(
        margin < -_SATURATED, margin, functional.cross_entropy(logits, labels, reduction="none")
    )


_SATURATED = 40.0
"""Margin in nats beyond which the squares of the gradient of the cross-entropy (1e-17 of its length) leave float32."""


def _verified(task: AttackTask, slots: _Slots, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return which images are fooled on 8 bits, and the scores of those.

    Only the images that the gradient's own forward already reads as fooled are scored.
    """
    fooled = (logits.argmax(dim=1) != slots.labels).cpu()
    if not fooled.any():
        return fooled, torch.empty(0)
    rows = slots.rows[fooled]
    score = task.score(rows, slots.current[fooled.to(task.device)])
    slots.queries[fooled] += 1
    verified = task.is_fooled(rows, score)
    fooled[fooled.clone()] = verified
    return fooled, score[verified]


def _finish(
    task: AttackTask, slots: _Slots, steps: int, restarts: int, start: Start
) -> tuple[_Slots, list[AttackChunk]]:
    """Let images whose steps are used up leave, or begin their next restart."""
    ended = slots.step == steps
    if not ended.any():
        return slots, []
    if restarts == 1:
        leaving = slots.select(ended)
        return slots.select(~ended), [leaving.chunk(leaving.current)]
    done, going = slots.select(ended), slots.select(~ended)
    with torch.no_grad():
        loss = functional.cross_entropy(task.detector(done.current), done.labels, reduction="none").cpu()
    # A success on 8 bits outranks any loss, which is of the float image.
    fooled = task.is_fooled(done.rows, task.score(done.rows, done.current))
    loss = torch.where(fooled, torch.inf, loss)
    done.queries += 2
    better = loss > done.best_loss
    done.best = torch.where(better.to(task.device).view(-1, 1, 1, 1), done.current, done.best)
    done.best_loss = torch.maximum(loss, done.best_loss)
    last = done.restart == restarts - 1
    if task.early_stop:
        last |= done.best_loss == torch.inf
    leaving, again = done.select(last), done.select(~last)
    if len(again):
        again.restart += 1
        again.step.zero_()
        again.current = torch.cat(
            [start(task, again.rows[i : i + 1], int(again.restart[i])) for i in range(len(again))]
        )
    return going.joined(again), [leaving.chunk(leaving.best)] if len(leaving) else []
