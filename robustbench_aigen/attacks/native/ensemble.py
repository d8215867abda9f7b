"""``auto``: the two-class counterpart of AutoAttack (Croce and Hein 2020, arXiv:2003.01690), which reacts to the detector.

Attacks of different kinds, each on the images that withstood the attacks before. DLR and the targeted versions of the
original need more than two classes; the margin takes their place. On two classes it leads where the cross-entropy
leads, so the attack on it begins outside the budget instead.

Nine tenths of the time of such an ensemble go to images that never fall. Adaptive Auto Attack (Liu et al. 2022, Practical
Evaluation of Adversarial Robustness via Adaptive Auto Attack, CVPR) gives up on them; here the price of giving up is
measured: a random sample of them gets every attack.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import run_attack
from robustbench_aigen.attacks.reaction.distillation import Surrogate
from robustbench_aigen.attacks.reaction.insight import LOOKED_INTO, Insight, look_into
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import ThreatModel
from robustbench_aigen.detectors.contract import DeployedDetector
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.stages.found_by import GIVEN_UP, SAMPLED, WITHSTOOD
from robustbench_aigen.stages.masks import MASK
from robustbench_aigen.stages.parameters import Value
from robustbench_aigen.stages.recipe_files import shipped_attack
from robustbench_aigen.stages.stage import Attack, Perturbation

Effort = Literal["adaptive", "exhaustive"]
_WIDENED = 3
"""Factor by which the second attack begins outside the budget, which differs from another start of the first attack."""
_IMPLEMENTATION = "robustbench_aigen.attacks.native.ensemble:auto"
_CLOSE = 0.5
"""Largest remaining margin of a close call, as a share of the lost margin."""
_ASKED = 12
"""Queries of Square that tell whether gradients mislead."""
_MISLED = 0.7
"""Share of the margin lost by gradients that so few queries may not take."""


def auto(
    task: AttackTask, *, steps: int, queries: int, restarts: int, effort: Effort, audit: float
) -> Iterator[AttackChunk]:
    """APGD on the cross-entropy, APGD on the margin, FAB, Square: the worst of the four for every image.

    What follows depends on the detector and on the image alone, so that results depend on no order:

    - Gradients are the detector's own, restored ones, or those of scores inside (:class:`Insight`), and means over
      several calls where answers vary. Where nothing guides a step, Square replaces the other attacks.
    - Both APGD attacks are run on every image. Where twelve queries of Square take nearly as much of the margin,
      gradients mislead, and the image gets Square in full.
    - ``adaptive`` gives up on the other images that withstood both, but for a random sample of them, ``audit``, which
      gets FAB, Square and, for close calls (images that lost at least two thirds of their margin), APGD with twice the
      steps from several starts inside the budget and outside. ``exhaustive`` runs all of this on every image.

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
    effort
        ``adaptive`` or ``exhaustive``.
    audit
        Share of the images that ``adaptive`` gives up on that get all attacks, above 0.
    """
    insight = task.insight or _look_into(task)
    ensemble = _Ensemble(_reacting(task, insight), blind=insight.route == "none", surrogate=insight.surrogate)
    plan = _Plan(_Common(task.threat, task.through, task.eot), steps, queries, restarts)
    # Of a detector that hides its gradients, images that withstand the first attacks are not given up on.
    exhaustive = effort == "exhaustive" or insight.route != "own"
    yield from ensemble.run(plan, exhaustive=exhaustive, audit=audit)


class _Plan(NamedTuple):
    """The attacks with their settings."""

    common: "_Common"
    steps: int
    queries: int
    restarts: int


class _Ensemble:
    """The images of a task with what the attacks so far have made of them."""

    def __init__(self, task: AttackTask, *, blind: bool, surrogate: str) -> None:
        count = len(task.levels)
        self.task, self.blind, self._surrogate = task, blind, surrogate
        self.left = torch.arange(count)
        self._levels = task.levels.clone()
        self._steps, self._queries = (torch.zeros(count, dtype=torch.long) for _ in range(2))
        self._closest = torch.full((count,), -torch.inf)
        self._found_by = [""] * count
        self._number = 0

    def run(self, plan: _Plan, *, exhaustive: bool, audit: float) -> Iterator[AttackChunk]:
        """Run the attacks, and yield images as they are finished."""
        stages = dict(zip(PARTS, parts(plan.common, steps=plan.steps, queries=plan.queries), strict=True))
        sampled = torch.ones(len(self.task.levels), dtype=torch.bool)
        if not self.blind:
            yield from self._attacked(APGD_CE, stages[APGD_CE], self.left)
            yield from self._attacked(APGD_MARGIN, stages[APGD_MARGIN], self.left)
        elif self._surrogate:
            crafted = _crafted_on(self.task, self._surrogate)
            for stage in transfers(plan.common, steps=plan.steps):
                yield from self._attacked(f"{TRANSFER}: {stage.recipe.name}", stage, self.left, crafted)
        if not exhaustive:
            sampled = self._drawn(audit)
            misled = self._misled(plan.common)
            yield from self._attacked(f"{SQUARE}: gradients mislead", stages[SQUARE], misled)
        mark = "" if exhaustive else SAMPLED
        if not self.blind:
            yield from self._attacked(FAB + mark, stages[FAB], self.left[sampled[self.left]])
        yield from self._attacked(SQUARE + mark, stages[SQUARE], self.left[sampled[self.left]])
        if not self.blind:
            for stage, name in zip(
                close_calls(plan.common, steps=plan.steps, restarts=plan.restarts), PARTS, strict=False
            ):
                chosen = self.left[sampled[self.left]]
                chosen = chosen[_is_close(self.task, chosen, self._closest[chosen])]
                yield from self._attacked(f"{name}, close call{mark}", stage, chosen)
        for row in self.left.tolist():
            self._found_by[row] = WITHSTOOD if sampled[row] else GIVEN_UP
        rest = self.left if self.task.early_stop else torch.arange(len(self.task.levels))
        for rows in rest.split(self.task.batch_size) if len(rest) else ():
            yield self._chunk(rows, None)

    def _attacked(
        self, name: str, stage: Attack, tried: Tensor, crafted: AttackTask | None = None
    ) -> Iterator[AttackChunk]:
        """Run one attack on some of the images that are left, by default on the detector itself."""
        number, self._number = self._number, self._number + 1
        if not len(tried):
            return
        task = self.task
        part = (crafted or task).restricted(tried, stage.params, task.first_try + 100 * number)
        outcome = run_attack(stage, part, _silent)
        self._steps[tried] += outcome.steps
        self._queries[tried] += outcome.queries
        margin = task.seen_margin(tried, to_pixels(outcome.levels.to(task.device)))
        fooled = task.is_fooled(tried, outcome.log_odds) if task.knows_the_verdict else margin > 0
        better = margin > self._closest[tried]
        self._closest[tried] = torch.maximum(self._closest[tried], margin)
        # Of images that withstand everything, the image of the first attack is kept.
        taken = fooled | torch.full_like(fooled, number == 0) | (better & torch.tensor(self.blind))
        self._levels[tried[taken]] = outcome.levels[taken]
        finished = tried[fooled]
        for row in finished.tolist():
            self._found_by[row] = name
        self.left = self.left[~torch.isin(self.left, finished)]
        if task.early_stop and len(finished):
            yield self._chunk(finished, outcome.log_odds[fooled])

    def _chunk(self, rows: Tensor, log_odds: Tensor | None) -> AttackChunk:
        names = tuple(self._found_by[row] for row in rows.tolist())
        pixels = to_pixels(self._levels[rows].to(self.task.device))
        return AttackChunk(rows, pixels, self._steps[rows], self._queries[rows], log_odds, None, names)

    def _drawn(self, audit: float) -> Tensor:
        """Return which images are in the random sample, N booleans: a draw of each image's own."""
        rows = torch.arange(len(self.task.levels))
        drawn = self.task.try_streams(rows, _AUDIT).uniform(0, 1, (1,))
        return torch.from_numpy(drawn).flatten() < audit

    def _misled(self, common: "_Common") -> Tensor:
        """Return the images that are left and lose nearly as much of their margin to a few random queries."""
        if self.blind or not len(self.left):
            return self.left
        task, rows = self.task, self.left
        stage = common.stage("square", steps=_ASKED)
        outcome = run_attack(stage, task.restricted(rows, stage.params, task.first_try + _AUDIT), _silent)
        self._queries[rows] += outcome.queries
        clean = task.seen_margin(rows, task.pixels(rows))
        asked = task.seen_margin(rows, to_pixels(outcome.levels.to(task.device)))
        return rows[asked - clean >= _MISLED * (self._closest[rows] - clean)]


_AUDIT = 90_000
"""Number of the streams of the sample's draws; no try has it."""


def _look_into(task: AttackTask) -> Insight:
    """Try the detector on images of the task, of one size."""
    rows = torch.arange(len(task.levels))
    height, width = task.levels.shape[2:]
    if task.sizes is not None:
        rows = (task.sizes == task.sizes[0]).all(dim=1).nonzero().flatten()
        height, width = task.sizes[0].tolist()
    pixels = task.pixels(rows[:LOOKED_INTO])[:, :, :height, :width]
    return look_into(task.source_model.detector, task.source_model.threshold, pixels)


def _reacting(task: AttackTask, insight: Insight) -> AttackTask:
    """Return the task with gradients and answers as an insight has them."""
    function = insight.differentiated(task.source_model)
    if insight.draws > 1:
        # One lucky answer of a random detector is no success: images keep what fools it on average.
        task = replace(task, eot=max(task.eot, insight.draws), answers_vary=True, early_stop=False)
    return task if function is None else replace(task, prepared=function)


def _crafted_on(task: AttackTask, surrogate: str) -> AttackTask:
    """Return the task with a distilled surrogate in place of the searched function."""
    deployed = DeployedDetector(Surrogate.unpacked(surrogate, task.device))
    return replace(
        task, source_model=deployed, prepared=deployed, early_stop=False, eot=1, answers_vary=False
    )


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
        steps, queries = (int(stage.arguments[name] or 1) for name in ("steps", "queries"))
        return parts(common, steps=steps, queries=queries)
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


APGD_CE, APGD_MARGIN, FAB, SQUARE = PARTS = ("apgd ce", "apgd margin", "fab", "square")
"""The names of the four attacks, in order."""


def parts(common: _Common, *, steps: int, queries: int) -> list[Attack]:
    """Return the four attacks with their arguments, in order."""
    return [
        common.stage("apgd", steps=steps, loss="ce"),
        common.stage("apgd", steps=steps, loss="margin", widened=_WIDENED),
        common.stage("fab", steps=steps),
        common.stage("square", steps=queries),
    ]


TRANSFER = "transfer from a distilled surrogate"
"""The name of attacks on a surrogate."""


def transfers(common: _Common, *, steps: int) -> list[Attack]:
    """Return the attacks on a surrogate."""
    return [common.stage("mifgsm", steps=10), common.stage("apgd", steps=steps, loss="margin")]


def shares_of_parts(stage: Attack) -> list[float]:
    """Return for each part of an attack the share of the images left by the parts before that get the part."""
    found = parts_of(stage)
    if len(found) == 1 or stage.params["effort"] == "exhaustive":
        return [1.0] * len(found)
    return [1.0, 1.0, *([float(stage.params["audit"] or 1)] * (len(found) - 2))]


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
