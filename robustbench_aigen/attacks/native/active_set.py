"""The loop of an iterated attack: a full batch of unfinished images, refilled from the queue.

An image leaves as soon as its 8-bit version is fooled (where early stopping is right) or its evaluations are used
up, and the next image of the shard takes its place. With early stopping off the batches are those of a plain loop.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from robustbench_aigen.attacks.native.evaluation import SATURATED, Evaluation, Loss
from robustbench_aigen.attacks.native.foresight import LOOKED_AT, UNKNOWN, Odds, reach_of
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.margins import gradient_of, margin_of


class Search(Protocol):
    """The part of an iterated attack that differs between attacks: the start of a try, and the update after an evaluation.

    ``evaluations`` are those of one try, ``restarts`` the tries of an image. A try also ends where the state has a
    true entry in ``ended``. ``minimum_norm`` means a search for the smallest perturbation: then an image
    beyond the boundary is tried at its own distance and at the whole budget. ``leaves_budget`` is whether its current
    pixels may be outside the budget.
    """

    evaluations: int
    restarts: int
    loss: Loss
    minimum_norm: bool
    leaves_budget: bool

    def start(self, task: AttackTask, rows: Tensor, clean: Tensor, restart: int) -> dict[str, Tensor]:
        """Return the state of some rows at the start of a try: ``current`` pixels and the tensors of the search.

        Every tensor has one entry an image in its first dimension and is on the task's device.
        """

    def update(self, task: AttackTask, slots: "Slots", found: Evaluation) -> None:
        """Use the evaluation at ``slots["current"]`` to set the next pixels there.

        ``slots["step"]`` is the number of evaluations of this try before the present one, on the CPU.
        """

    def outcome(self, slots: "Slots") -> Tensor:
        """Return the result of a try: its pixels."""


class Slots:
    """State of the images in the batch: named tensors with one entry an image.

    ``rows``, ``step``, ``taken``, ``queries``, ``reach``, ``far_reach``, ``restart`` and ``best_loss`` are on the CPU,
    all others (``clean``, ``labels``, ``ahead``, ``best`` and what the search has put there) on the device.
    """

    def __init__(self, values: dict[str, Tensor]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values["rows"])

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self._values[name] = value

    def select(self, chosen: Tensor) -> "Slots":
        """Keep the images that a boolean CPU mask names; all of them without a copy."""
        if bool(chosen.all()):
            return Slots(dict(self._values))
        index = chosen.nonzero().flatten()
        return Slots({name: value[index.to(value.device)] for name, value in self._values.items()})

    def joined(self, other: "Slots") -> "Slots":
        """Return one batch with the images of two."""
        return Slots({name: torch.cat([value, other[name]]) for name, value in self._values.items()})

    def chunk(self, pixels: Tensor, log_odds: Tensor | None = None) -> AttackChunk:
        """Return these images as finished."""
        return AttackChunk(self["rows"], pixels, self["taken"], self["queries"], log_odds)


class Look(NamedTuple):
    """Pixels that may be judged before the next gradient: their name, that of their reach, and its odds."""

    pixels: str
    reach: str
    odds: Odds


def iterate(
    task: AttackTask, search: Search, far_end: Callable[[Slots, Tensor], Tensor] | None = None
) -> Iterator[AttackChunk]:
    """Run an iterated attack on a task and yield images as they finish.

    With early stopping an image stops at its first success on 8 bits; without, and after the last restart, it has
    its first successful try, or else the try with the highest loss.

    Parameters
    ----------
    task, search
        The images to attack, and the search.
    far_end
        (images, gradients at ``images["current"]``) → the pixels at the end of the budget in their direction. With
        early stopping these are judged too where success is likely.
    """
    queue = deque(range(len(task.levels)))
    near, far = Look("current", "reach", Odds()), Look("ahead", "far_reach", Odds(curious=True))
    looks: list[Look] = []
    if task.early_stop and search.loss is not None and not search.leaves_budget:
        looks = [near] if far_end is None else [near, far]
    waiting: Slots | None = None
    while queue or waiting is not None:
        slots = _refilled(task, waiting, queue, search, looks)
        seen, waiting = _looked_at(task, slots, looks)
        if seen is not None:
            yield seen
            continue
        found = _evaluate(task, slots, search.loss)
        slots["queries"] += task.eot
        if task.early_stop:
            fooled, pixels, log_odds = _verified(task, slots, found.margin, search)
            near.odds.note(slots[near.reach], slots[near.reach] >= 0, fooled)
            if fooled.any():
                leaving = slots.select(fooled)
                leaving["taken"] += search.loss is None
                found, slots = found.select(~fooled), slots.select(~fooled)
                done = leaving.chunk(pixels, log_odds)
                # While the chunk is judged, a photograph of 12 megapixels takes 144 MB in each of these.
                del leaving, pixels
                yield done
        if len(slots):
            before, gradient = slots["current"], found.gradient
            if far_end is not None and far in looks:
                assert gradient is not None
                slots[far.pixels] = far_end(slots, gradient)
            search.update(task, slots, found)
            slots["step"] += 1
            slots["taken"] += 1
            for look in looks:
                slots[look.reach] = reach_of(found, slots[look.pixels] - before, search.loss)
            slots, finished = _finish(task, slots, search, looks)
            del found, before, gradient
            yield from finished
        waiting = slots if len(slots) else None


def _refilled(
    task: AttackTask, slots: Slots | None, queue: deque[int], search: Search, looks: Sequence[Look]
) -> Slots:
    """Fill the batch from the queue."""
    space = task.batch_size - (len(slots) if slots is not None else 0)
    # Without early stopping, no image leaves before the batch is finished, so batches are never mixed.
    if queue and space > 0 and (slots is None or task.early_stop):
        fresh = _fresh(task, [queue.popleft() for _ in range(min(space, len(queue)))], search, looks)
        return fresh if slots is None else slots.joined(fresh)
    assert slots is not None
    return slots


def _looked_at(
    task: AttackTask, slots: Slots, looks: Sequence[Look]
) -> tuple[AttackChunk | None, Slots | None]:
    """Judge images that are probably fooled, on 8 bits: those that are, as finished, or None, and the others."""
    for look in looks:
        chosen = look.odds.favour_a_look(slots[look.reach])
        if not chosen.any():
            continue
        at = chosen.nonzero().flatten()
        log_odds = task.log_odds(slots["rows"][at], slots[look.pixels][at.to(task.device)])
        verified = task.is_fooled(slots["rows"][at], log_odds)
        fooled = torch.zeros_like(chosen)
        fooled[at[verified]] = True
        look.odds.note(slots[look.reach], chosen, fooled)
        slots[look.reach][chosen] = LOOKED_AT
        if fooled.any():
            leaving = slots.select(fooled)
            chunk = leaving.chunk(leaving[look.pixels], log_odds[verified])
            return chunk, slots.select(~fooled) if len(leaving) < len(slots) else None
    return None, slots


def _fresh(task: AttackTask, rows: list[int], search: Search, looks: Sequence[Look]) -> Slots:
    index = torch.tensor(rows)
    clean = task.pixels(index)
    count = torch.zeros(len(rows), dtype=torch.long)
    state = {
        "rows": index,
        "clean": clean,
        "labels": task.labels[index].to(task.device),
        "step": count,
        "taken": count.clone(),
        "queries": count.clone(),
        "reach": torch.full((len(rows),), UNKNOWN),
    }
    if search.restarts > 1:
        state |= {
            "restart": count.clone(),
            "best": clean,
            "best_loss": torch.full((len(rows),), -torch.inf),
        }
    for look in looks:
        state |= {look.pixels: clean, look.reach: torch.full((len(rows),), UNKNOWN)}
    return Slots(state | search.start(task, index, clean, 0))


def _evaluate(task: AttackTask, slots: Slots, loss: Loss) -> Evaluation:
    labels = slots["labels"]
    draws = None
    margins, gradients = [], []
    for number in range(task.eot):
        if task.is_random:
            draws = (slots["taken"] * task.eot + number + 1).tolist()
        current = slots["current"].detach()
        if loss is None:
            with torch.no_grad():
                logits = task.logits(slots["rows"], current, draws=draws, for_gradient=False)
        else:
            current.requires_grad_()
            with torch.enable_grad():
                logits = task.logits(slots["rows"], current, draws=draws, for_gradient=True)
                gradients.append(gradient_of(_scalar(logits, labels, loss), current))
        margins.append(margin_of(logits.detach(), labels))
    mean = margins[0] if task.eot == 1 else torch.stack(margins).mean(dim=0)
    # NaN is not a verdict: the search counts the image as judged right.
    mean = mean.nan_to_num(-_NO_VERDICT, _NO_VERDICT, -_NO_VERDICT)
    if loss is None:
        return Evaluation(mean, None, len(mean))
    gradient = gradients[0] if task.eot == 1 else torch.stack(gradients).mean(dim=0)
    return Evaluation(mean, _finite(task, slots, gradient), len(mean))


_NO_VERDICT = 1e3
"""Nats of a margin that is not finite."""


def _finite(task: AttackTask, slots: Slots, gradient: Tensor) -> Tensor:
    """Return a gradient without NaN and infinity: zero in their place, and a random one where nothing else is left.

    Otherwise the search would make no progress; the next pixels may have a gradient again. The trust flag
    ``zero_gradients`` reports such gradients.
    """
    # A sum is finite if all terms are, and takes half the time of a test of each term.
    if gradient.sum().isfinite():
        return gradient
    finite = gradient.isfinite()
    if finite.all():
        return gradient
    gradient = torch.where(finite, gradient, 0.0)
    lost = ~finite.flatten(1).all(dim=1) & ~gradient.flatten(1).any(dim=1)
    for row in lost.nonzero().flatten().tolist():
        rows, step = slots["rows"][row : row + 1], int(slots["taken"][row])
        gradient[row] = task.draw(rows, _NEVER_A_RESTART + step, lambda own, size: own.uniform(-1, 1, size))[
            0
        ]
    return gradient


_NEVER_A_RESTART = 1_000_000
"""Streams from this number on belong to steps, not to restarts."""


def _scalar(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the scalar to differentiate.

    With two classes the cross-entropy is a rising function of the margin, so both have the same gradient but for
    its length. A confident detector's cross-entropy has a gradient that float32 cannot hold, and an attack that
    follows it makes no progress (Carlini and Wagner 2017, section VIII, on saturated networks): there the margin takes
    its place.
    """
    margin = margin_of(logits, labels)
    if loss == "margin":
        return margin.sum()
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    # The mean, as in torchattacks: its last bit decides the sign of a gradient that is all but zero.
    return torch.where(margin < -SATURATED, margin, entropy).mean()


def _verified(
    task: AttackTask, slots: Slots, margin: Tensor, search: Search
) -> tuple[Tensor, Tensor, Tensor]:
    """Return which images are fooled on 8 bits, and the pixels and log-odds of those.

    Only images that the search's own evaluation reads as fooled are judged. The evaluator judges the
    image; this is not a query of the attacker.
    """
    labels = slots["labels"]
    # Ties are fake.
    fooled = torch.where(labels == 1, margin > 0, margin >= 0).cpu()
    fooled &= slots["reach"] != LOOKED_AT
    current = slots["current"]
    if not fooled.any():
        return fooled, current[:0], torch.empty(0)
    at = fooled.nonzero().flatten()
    if search.leaves_budget:
        at = at[task.threat.holds(slots["clean"][at.to(task.device)], current[at.to(task.device)]).cpu()]
    if not len(at):
        return torch.zeros_like(fooled), current[:0], torch.empty(0)
    rows, pixels = slots["rows"][at], current[at.to(task.device)]
    log_odds = task.log_odds(rows, pixels)
    verified = task.is_fooled(rows, log_odds)
    if search.minimum_norm and not verified.all():
        again = (~verified).nonzero().flatten()
        stretched = task.threat.stretch(
            slots["clean"][at[again].to(task.device)], pixels[again.to(task.device)]
        )
        log_odds[again] = task.log_odds(rows[again], stretched)
        pixels[again.to(task.device)] = stretched
        verified = task.is_fooled(rows, log_odds)
    fooled = torch.zeros_like(fooled)
    fooled[at[verified]] = True
    return fooled, pixels[verified.to(task.device)], log_odds[verified]


def _finish(
    task: AttackTask, slots: Slots, search: Search, looks: Sequence[Look]
) -> tuple[Slots, list[AttackChunk]]:
    """Let images whose evaluations are used up leave, or begin their next restart."""
    ended = slots["step"] == search.evaluations
    if "ended" in slots:
        ended |= slots["ended"].cpu()
    if not ended.any():
        return slots, []
    done, going = slots.select(ended), slots.select(~ended)
    result = search.outcome(done)
    if search.restarts == 1:
        return going, [done.chunk(result)]
    margin = task.seen_margin(done["rows"], result)
    done["queries"] += task.eot
    if task.knows_the_verdict:
        # A success on 8 bits outranks any margin, which is of the float image.
        log_odds = task.log_odds(done["rows"], task.threat.shrink(done["clean"], result))
        margin = torch.where(task.is_fooled(done["rows"], log_odds), torch.inf, margin)
    better = margin > done["best_loss"]
    done["best"] = torch.where(better.to(task.device).view(-1, 1, 1, 1), result, done["best"])
    done["best_loss"] = torch.maximum(margin, done["best_loss"])
    last = done["restart"] == search.restarts - 1
    if task.early_stop:
        last |= done["best_loss"] == torch.inf
    leaving, again = done.select(last), done.select(~last)
    if len(again):
        again["restart"] += 1
        again["step"].zero_()
        for look in looks:
            again[look.reach].fill_(UNKNOWN)
        # A try's number decides its draws, so those of one number begin together.
        alike = [again.select(again["restart"] == number) for number in again["restart"].unique()]
        again = alike[0]
        for each in alike:
            number = int(each["restart"][0])
            for name, value in search.start(task, each["rows"], each["clean"], number).items():
                each[name] = value
            again = again if each is again else again.joined(each)
    return going.joined(again), [leaving.chunk(leaving["best"])] if len(leaving) else []
