"""``auto``: the two-class counterpart of AutoAttack (Croce and Hein 2020, arXiv:2003.01690).

Four attacks of different kinds, each on what the ones before it have left standing. DLR and the targeted versions of
the original need more than two classes; the margin takes their place.
"""

from collections.abc import Iterator, Mapping

import torch

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.scenario.cells import BoundStage
from robustbench_aigen.scenario.parameters import Value
from robustbench_aigen.scenario.recipes import shipped_recipes


def auto(task: AttackTask) -> Iterator[AttackChunk]:
    """APGD on the cross-entropy, APGD on the margin, FAB, Square: the worst of the four for every image.

    With early stopping an image is finished by the first that fools it. Without, every image gets every step of the
    first, and what that has not fooled goes on to the others. Reads ``steps`` (of the first three), ``restarts``
    (of the second and third) and ``queries`` (of Square).
    """
    count = len(task.levels)
    levels = task.levels.clone()
    score = torch.full((count,), torch.nan)
    steps, queries = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    left = torch.arange(count)
    for number, stage in enumerate(parts(task.params, task.through, task.eot)):
        if not len(left):
            break
        part = task.restricted(left, stage.params, task.first_try + 100 * number)
        outcome = run_attack(stage, part, _silent)
        steps[left] += outcome.steps
        queries[left] += outcome.queries
        if task.knows_the_verdict:
            fooled = task.is_fooled(left, outcome.score)
        else:
            fooled = task.seen_margin(left, to_pixels(outcome.levels.to(task.device))) > 0
        taken = fooled | torch.full_like(fooled, number == 0)
        levels[left[taken]], score[left[taken]] = outcome.levels[taken], outcome.score[taken]
        finished, left = left[fooled], left[~fooled]
        if task.early_stop and len(finished):
            pixels = to_pixels(levels[finished].to(task.device))
            yield AttackChunk(finished, pixels, steps[finished], queries[finished], score[finished])
    rest = left if task.early_stop else torch.arange(count)
    for rows in rest.split(task.batch_size) if len(rest) else ():
        yield AttackChunk(rows, to_pixels(levels[rows].to(task.device)), steps[rows], queries[rows])


def parts(params: Mapping[str, Value], through: tuple[BoundStage, ...], eot: int) -> list[BoundStage]:
    """Return the four attacks with what they are given, in their order; the parameters are those of ``auto``."""
    common = {"norm": params["norm"], "eps": params["eps"]}
    steps, restarts = params["steps"], params["restarts"]
    given: list[tuple[str, dict[str, object]]] = [
        ("apgd", {"steps": steps, "loss": "ce"}),
        ("apgd", {"steps": steps, "loss": "margin", "restarts": restarts}),
        ("fab", {"steps": steps, "restarts": restarts}),
        ("square", {"steps": params["queries"]}),
    ]
    recipes = shipped_recipes()
    return [
        BoundStage(recipes[name], recipes[name].bind({**common, **own}), through, eot) for name, own in given
    ]


def _silent(images: int) -> None:
    """Take no notice: the images of a part are not finished."""
    del images
