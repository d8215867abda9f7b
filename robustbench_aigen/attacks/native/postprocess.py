"""A search for post-processing that passes a detector: a chain of everyday operations under a floor on the quality.

A local search over :mod:`robustbench_aigen.attacks.native.operation_space`. It begins with every operation alone, and
changes the best chains: a strength, an operation, the order. A chain below the floor is weakened until it is above,
which needs no query. Optuna's tree-structured Parzen estimator on the same space (Bergstra et al. 2011) passed fewer
images with 100 queries: it has to learn which of its many conditional parameters belong together.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple, Protocol

import numpy as np
import torch
import yaml
from torch import Tensor

from robustbench_aigen.attacks.native.operation_space import (
    OPERATIONS,
    Chain,
    changed_chain,
    drawn_chain,
    drawn_choice,
    stages_of,
)
from robustbench_aigen.attacks.task import AttackChunk, AttackTask
from robustbench_aigen.attacks.threat_model import level_distances
from robustbench_aigen.errors import UserError
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.image_quality import psnr, ssim
from robustbench_aigen.numerics.parallel_map import in_threads
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb
from robustbench_aigen.stages.stage import Perturbation

_HALVINGS = 5
"""Steps of the bisection that weakens a chain below the floor."""
_TRIES = 20
"""Draws for one query, of which none keeps the floor, before the query is given up."""
_PARENTS = 4
"""Best chains that are changed."""

Quality = Callable[[Tensor, Tensor], float]


class Candidate(NamedTuple):
    """A changed image, 3×H×W uint8, and the perturbations that made it."""

    levels: Tensor
    stages: tuple[Perturbation, ...]


class Proposals(Protocol):
    """Candidates for one image, one for each query."""

    def ask(self) -> Candidate | None:
        """Return the next candidate; None if no drawn chain keeps the floor."""
        ...

    def tell(self, value: float) -> None:
        """Take the value of the last candidate: larger is closer to the wrong verdict."""
        ...


@dataclass
class _Hunted:
    """An image, its proposals, and the best candidate so far."""

    row: int
    proposals: Proposals
    best: Candidate
    margin: float = -float("inf")
    steps: int = 0
    queries: int = 0

    def note(self, candidate: Candidate, margin: float, value: float) -> None:
        """Give the value of a candidate to the search, and keep the candidate if its margin is the largest."""
        self.proposals.tell(value)
        if margin > self.margin:
            self.best, self.margin = candidate, margin

    def with_best(self, candidate: Candidate) -> "_Hunted":
        """Keep a candidate."""
        self.best = candidate
        return self


def postprocess(
    task: AttackTask, *, steps: int, quality: str, floor: float, length: int, search: str, feedback: str
) -> Iterator[AttackChunk]:
    """Search chains of operations for each image.

    Parameters
    ----------
    task
        The images.
    steps
        Queries for an image.
    quality, floor
        ``ssim`` or ``psnr``, and the lowest quality of a candidate.
    length
        Longest chain.
    search
        ``local``, or ``random`` for uniform draws that keep the floor.
    feedback
        ``scores``, or ``verdicts`` if the search sees only whether a candidate passes.

    Raises
    ------
    UserError
        If no operation can keep the floor, or an image is too small for SSIM.
    """
    if quality == "ssim" and floor >= 1:
        raise UserError(
            f"floor {floor:g} leaves no operation: an SSIM of 1 is the image itself", hint="floor: 0.9"
        )
    for rows in task.batches():
        hunted = []
        for row in rows.tolist():
            maker = _Maker(task, row, _quality(quality), floor, length)
            proposals = _RandomSearch(maker) if search == "random" else _LocalSearch(maker)
            hunted.append(_Hunted(row, proposals, Candidate(maker.clean, ())))
        yield from _hunt(task, hunted, steps, only_verdicts=feedback == "verdicts")


def _hunt(
    task: AttackTask, hunted: list[_Hunted], steps: int, *, only_verdicts: bool
) -> Iterator[AttackChunk]:
    """Query one candidate of each image at a time, and yield images as they finish."""
    for _ in range(steps):
        if not hunted:
            return
        asked = _proposed(hunted)
        if not asked:
            continue
        rows = torch.tensor([each.row for each, _ in asked])
        levels = torch.stack([_padded(task, candidate.levels) for _, candidate in asked])
        margins = task.seen_margin(rows, to_pixels(levels).to(task.device)).tolist()
        for (each, candidate), margin in zip(asked, margins, strict=True):
            each.note(candidate, margin, float(margin > 0) if only_verdicts else margin)
            each.queries += task.eot if task.is_random else 1
        if task.early_stop:
            fooled, log_odds = _fooled(task, rows, levels, margins)
            done = [each.with_best(candidate) for each, candidate in compress(asked, fooled.tolist())]
            if done:
                yield _chunk(task, done, log_odds)
                finished = {each.row for each in done}
                hunted = [each for each in hunted if each.row not in finished]
    if hunted:
        yield _chunk(task, hunted, None)


def _fooled(
    task: AttackTask, rows: Tensor, levels: Tensor, margins: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return which images fool the detector, and the log-odds of these; only margins towards it are judged."""
    seen = torch.tensor(margins)
    # Ties are fake.
    fooled = torch.where(task.labels[rows] == 1, seen > 0, seen >= 0)
    if not fooled.any():
        return fooled, torch.empty(0)
    log_odds = task.log_odds_of_levels(rows[fooled], levels[fooled])
    verified = task.is_fooled(rows[fooled], log_odds)
    fooled[fooled.clone()] = verified
    return fooled, log_odds[verified]


def _proposed(hunted: list[_Hunted]) -> list[tuple[_Hunted, Candidate]]:
    """Return the next candidate of each image that has one."""
    # Pillow releases Python's lock.
    found = list(in_threads(lambda each: each.proposals.ask(), hunted, chunk=1))
    for each in hunted:
        each.steps += 1
    return [(each, candidate) for each, candidate in zip(hunted, found, strict=True) if candidate is not None]


def _chunk(task: AttackTask, done: Sequence[_Hunted], log_odds: Tensor | None) -> AttackChunk:
    levels = torch.stack([_padded(task, each.best.levels) for each in done])
    return AttackChunk(
        torch.tensor([each.row for each in done]),
        to_pixels(levels).to(task.device),
        torch.tensor([each.steps for each in done]),
        torch.tensor([each.queries for each in done]),
        log_odds,
        tuple(written_chain(each.best.stages) for each in done),
    )


def written_chain(stages: Sequence[Perturbation]) -> str:
    """Return perturbations as the stages of a pipeline in a scenario, in one line of YAML; empty without any."""
    if not stages:
        return ""
    text: str = yaml.safe_dump(
        [stage.written() for stage in stages], default_flow_style=True, sort_keys=False, width=10**6
    )
    return text.strip()


def _padded(task: AttackTask, levels: Tensor) -> Tensor:
    height, width = task.levels.shape[2:]
    return torch.nn.functional.pad(levels, (0, width - levels.shape[2], 0, height - levels.shape[1]))


def _quality(name: str) -> Quality:
    """Return a function of two 3×H×W uint8 images."""
    if name == "ssim":
        return lambda one, other: float(ssim(one[None], other[None]))
    return lambda one, other: float(psnr(level_distances(one[None], other[None])[1], one.numel()))


class _Maker:
    """Makes candidates of one image."""

    def __init__(self, task: AttackTask, row: int, quality: Quality, floor: float, longest: int) -> None:
        height, width = task.image_sizes()[row]
        self.clean = task.levels[row, :, :height, :width]
        self.streams, self.quality, self.floor, self.longest = (
            task.streams.select([row]),
            quality,
            floor,
            longest,
        )
        if np.isnan(quality(self.clean, self.clean)):
            raise UserError(
                f"image '{self.streams.samples[0]}' has {height}×{width} pixels, and SSIM needs 11×11",
                hint="quality: psnr, floor: 30",
            )
        self.generator = task.try_streams(torch.tensor([row]), 0).generator(0)

    def make(self, chain: Chain, scale: float = 1.0) -> Candidate:
        """Apply a chain, its strengths multiplied by ``scale``."""
        stages = stages_of(chain, scale)
        levels = self.clean[None]
        for place, stage in enumerate(stages):
            # The draws of a pipeline with these stages in place of the attack: a pasted chain gives the same image.
            own = SampleStreams(self.streams.seed, self.streams.samples, self.streams.stage + place)
            levels = perturb(stage, levels, own)
        return Candidate(levels[0], stages)

    def keeps(self, candidate: Candidate) -> bool:
        """Whether the quality of a candidate is at least the floor."""
        return self.quality(self.clean, candidate.levels) >= self.floor

    def weakened(self, chain: Chain) -> Candidate | None:
        """Return the chain at the largest scale that keeps the floor, up to a bisection; None if none was found."""
        whole = self.make(chain)
        if self.keeps(whole):
            return whole
        kept, low, high = None, 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            candidate = self.make(chain, middle)
            if self.keeps(candidate):
                kept, low = candidate, middle
            else:
                high = middle
        return kept


class _RandomSearch:
    """Uniform draws; those below the floor are drawn again, without a query."""

    def __init__(self, maker: _Maker) -> None:
        self.maker = maker

    def ask(self) -> Candidate | None:
        """Return a chain that keeps the floor."""
        for _ in range(_TRIES):
            candidate = self.maker.make(drawn_chain(self.maker.generator, self.maker.longest))
            if self.maker.keeps(candidate):
                return candidate
        return None

    def tell(self, value: float) -> None:
        """Forget the value."""


class _LocalSearch:
    """Every operation alone, then changes of the best chains so far; a chain below the floor is weakened."""

    def __init__(self, maker: _Maker) -> None:
        self.maker = maker
        names = maker.generator.permutation(list(OPERATIONS)).tolist()
        self.waiting = deque((drawn_choice(maker.generator, name, strength=1.0),) for name in names)
        self.found: list[tuple[float, Chain]] = []
        self.chain: Chain = ()

    def ask(self) -> Candidate | None:
        """Return the next operation alone, or a changed chain."""
        for _ in range(_TRIES):
            self.chain = self.waiting.popleft() if self.waiting else self._changed()
            candidate = self.maker.weakened(self.chain)
            if candidate is not None:
                return candidate
        return None

    def tell(self, value: float) -> None:
        """Rank the last chain among the best."""
        self.found = sorted([*self.found, (value, self.chain)], key=lambda each: -each[0])[:_PARENTS]

    def _changed(self) -> Chain:
        generator = self.maker.generator
        if not self.found:
            return drawn_chain(generator, self.maker.longest)
        # The better of two draws, so that the best chain is changed most often.
        rank = generator.integers(len(self.found), size=2).min()
        return changed_chain(generator, self.found[rank][1], self.maker.longest)
