"""``auto``: the two-class counterpart of AutoAttack (Croce and Hein 2020, arXiv:2003.01690).

Four attacks of different kinds, each on the images that withstood the attacks before. DLR and the targeted versions of
the original need more than two classes; the margin takes their place. On two classes it leads where the cross-entropy
leads, so the attack on it begins outside the budget instead.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.stages.masks import MASK
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, Perturbation

_WIDENED = 3
"""Factor by which the second attack begins outside the budget, which differs from another start of the first attack."""
_IMPLEMENTATION = "robustbench_aigen.attacks.native.ensemble:auto"
_CLOSE = 0.5
"""Largest remaining margin of a close call, as a share of the lost margin."""


def auto(task: AttackTask, *, steps: int, queries: int, restarts: int) -> Iterator[AttackChunk]:
    """APGD on the cross-entropy, APGD on the margin, FAB, Square: the worst of the four for every image.

    Close calls, the images that lost at least two thirds of their margin and withstood all four, are tried again by
    APGD with twice the steps from several starts inside the budget and outside: there a start decides, and on what is
    far from the boundary it is wasted. Whether an image is a close call depends on that image alone.

    With early stopping an image is finished by the first that fools it. Without, every image gets every step of the
    first attack, and survivors go to the others.

    Parameters
    ----------
    task
        The images.
    steps
        Steps of the first three attacks.
    queries
        Queries of Square.
    restarts
        Starts of a close call.
    """
    count = len(task.levels)
    levels = task.levels.clone()
    log_odds = torch.full((count,), torch.nan)
    taken_steps, asked = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    closest = torch.full((count,), -torch.inf)
    left = torch.arange(count)
    common = _Common(task.threat, task.through, task.eot)
    everywhere = parts(common, steps=steps, queries=queries)
    for number, stage in enumerate([*everywhere, *close_calls(common, steps=steps, restarts=restarts)]):
        tried = left if number < len(everywhere) else left[_is_close(task, left, closest[left])]
        if not len(tried):
            continue
        part = task.restricted(tried, stage.params, task.first_try + 100 * number)
        outcome = run_attack(stage, part, _silent)
        taken_steps[tried] += outcome.steps
        asked[tried] += outcome.queries
        margin = task.seen_margin(tried, to_pixels(outcome.levels.to(task.device)))
        fooled = task.is_fooled(tried, outcome.log_odds) if task.knows_the_verdict else margin > 0
        closest[tried] = torch.maximum(closest[tried], margin)
        taken = fooled | torch.full_like(fooled, number == 0)
        levels[tried[taken]], log_odds[tried[taken]] = outcome.levels[taken], outcome.log_odds[taken]
        finished = tried[fooled]
        left = left[~torch.isin(left, finished)]
        if task.early_stop and len(finished):
            pixels = to_pixels(levels[finished].to(task.device))
            yield AttackChunk(finished, pixels, taken_steps[finished], asked[finished], log_odds[finished])
    rest = left if task.early_stop else torch.arange(count)
    for rows in rest.split(task.batch_size) if len(rest) else ():
        yield AttackChunk(rows, to_pixels(levels[rows].to(task.device)), taken_steps[rows], asked[rows])


def _is_close(task: AttackTask, rows: Tensor, closest: Tensor) -> Tensor:
    """Return which rows lost most of their margin, M booleans; ``closest`` are the largest margins reached, below 0."""
    if not len(rows):
        return torch.zeros(0, dtype=torch.bool)
    clean = task.seen_margin(rows, task.pixels(rows))
    return -closest <= _CLOSE * (closest - clean)


def parts_of(stage: Attack) -> list[Attack]:
    """Return the attacks that an attack is made of: for most, itself."""
    native = stage.recipe.backends.native
    if native is not None and native.implementation == _IMPLEMENTATION:
        common = _Common(ThreatModel(stage.norm, stage.eps or 0), stage.through, stage.eot, stage.mask)
        arguments = {name: int(value or 1) for name, value in stage.arguments.items() if name != "restarts"}
        return parts(common, **arguments)
    return [stage]


class _Common(NamedTuple):
    """Shared arguments of all parts of an attack; inside the attack, its task has the mask."""

    threat: ThreatModel
    through: tuple[Perturbation, ...]
    eot: int
    mask: str | None = None

    def stage(self, name: str, **given: Value) -> Attack:
        """Return one part of the attack."""
        given |= {"norm": self.threat.norm, "eps": self.threat.eps}
        given |= {} if self.mask is None else {MASK: self.mask}
        return Attack(shipped_attack(name), given, self.through, self.eot)


def parts(common: _Common, *, steps: int, queries: int) -> list[Attack]:
    """Return the four attacks with their arguments, in order."""
    return [
        common.stage("apgd", steps=steps, loss="ce"),
        common.stage("apgd", steps=steps, loss="margin", widened=_WIDENED),
        common.stage("fab", steps=steps),
        common.stage("square", steps=queries),
    ]


def close_calls(common: _Common, *, steps: int, restarts: int) -> list[Attack]:
    """Return the attacks that close calls are tried with again."""
    more = {"steps": 2 * steps, "restarts": restarts}
    return [
        common.stage("apgd", **more, loss="ce"),
        common.stage("apgd", **more, loss="margin", widened=_WIDENED),
    ]


def _silent(images: int) -> None:
    """Ignore progress, because the images of a part are not finished."""
    del images
