"""Evidence against a map: it ignores the weights, hides nothing that matters, or explains an untrained detector."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain.mapping import METHODS, Maps, Towards, maps, maps_towards
from robustbench_aigen.explain.randomising import randomised
from robustbench_aigen.explain.task import Task, evidence_of
from robustbench_aigen.metrics.tail_tests import binomial_tail
from robustbench_aigen.numerics.curves import area_under, roc_curve
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import ImagesLike, LabelsLike, labels_of, to_levels_list
from robustbench_aigen.numerics.seeding import seeded_global_rng
from robustbench_aigen.text import counted

IGNORES_WEIGHTS, UNFAITHFUL, UNTRAINED = "ignores_weights", "unfaithful", "like_random_weights"
MEANINGS = {
    IGNORES_WEIGHTS: "the maps are much the same with random weights, so they show the image and not the detector",
    UNFAITHFUL: "hiding the marked pixels changes the answer no more than hiding the same shape elsewhere",
    UNTRAINED: "the detector separates the classes no better than its copies with random weights do",
}
"""The flags of a method of explanation, and what each means."""
_SIMILAR = 0.5
"""Rank correlation from which two maps are called much the same."""
_STEPS = 10
_ROLLS = 4
"""Shifted copies of each map, against which it is compared."""
_COPIES = 10
"""Copies with random weights whose AUROC the detector must pass: by chance a random one does so once in eleven."""
_FEWEST = 5
"""Images below which no test can reach 5 %."""
_CERTAIN = 0.05


@dataclass(frozen=True)
class Sanity:
    """What checks found out about the maps of one method on one detector.

    Parameters
    ----------
    method
        The method.
    similarity
        Rank correlations of the absolute maps with those of copies with random weights, one for each image and copy.
    deletion, insertion
        Curves, N×11: log-odds of the explained class, in nats, while the most important pixels are blurred, or shown
        in a blurred image, in tenths.
    deletion_shifted, insertion_shifted
        The same for shifted copies of the maps, the mean over the copies.
    flags
        The raised flags, with what was measured.
    unchecked
        What could not be checked, and why.
    """

    method: str
    similarity: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_shifted: NDArray[np.float64]
    insertion_shifted: NDArray[np.float64]
    flags: dict[str, str] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()

    @property
    def gains(self) -> NDArray[np.float64]:
        """By how many nats a map deletes and inserts better than its shifted copies, the mean over the curves: N."""
        lost = (self.deletion_shifted - self.deletion).mean(axis=1)
        won = (self.insertion - self.insertion_shifted).mean(axis=1)
        return np.asarray((lost + won) / 2)

    @property
    def trust(self) -> str:
        """``ok``, or the raised flags, as in the trust column of a run."""
        return ", ".join(self.flags) or "ok"


def sanity(
    detector: Detector | nn.Module | str,
    images: ImagesLike,
    labels: LabelsLike | None = None,
    method: str = "integrated_gradients",
    *,
    towards: Towards = "verdict",
    seed: int = 42,
    copies: int = 2,
    given: Maps | None = None,
    **options: Any,
) -> Sanity:
    """Check the maps of a method on some images.

    Adebayo et al. 2018: random weights must change the maps. Petsiuk et al. 2018: deletion and insertion curves, here
    against shifted copies of the same map, because any change of a picture changes a detector's answer. With labels:
    the detector's AUROC must pass that of its copies with random weights.

    Parameters
    ----------
    detector
        A detector, an ``nn.Module`` or an id.
    images
        At least five images.
    labels
        Their labels; without labels the third check is left out.
    method, towards, seed, options
        As of :func:`maps`.
    copies
        Copies with random weights whose maps are compared.
    given
        Maps that were computed already.

    Raises
    ------
    UserError
        As :func:`maps` does.
    """
    loaded, levels = load_detector(detector, device="auto"), to_levels_list(images)
    own = given or maps(loaded, levels, method, towards=towards, seed=seed, **options)
    valid = [row for row in range(len(own)) if not own.problems[row]]
    unchecked, flags = list[str](), dict[str, str]()
    similarity, reason = _similarity(loaded, levels, own, valid, method, seed, copies, options)
    if reason:
        unchecked.append(f"{IGNORES_WEIGHTS}: {reason}")
    elif similarity.mean() >= _SIMILAR:
        flags[IGNORES_WEIGHTS] = (
            f"mean rank correlation {similarity.mean():.2f} with the maps of random weights, limit {_SIMILAR}"
        )
    curves = _curves(loaded, [levels[row] for row in valid], own, valid, seed)
    found = Sanity(method, similarity, *curves)
    reason = _judge_gains(found, flags)
    if reason:
        unchecked.append(f"{UNFAITHFUL}: {reason}")
    reason = (
        "no labels"
        if labels is None
        else _judge_training(loaded, levels, labels_of(labels, len(levels)), own, seed, flags)
    )
    if reason:
        unchecked.append(f"{UNTRAINED}: {reason}")
    return Sanity(method, similarity, *curves, flags, tuple(unchecked))


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation of two maps, ties averaged; NaN where a map is constant."""
    from scipy.stats import rankdata  # Slow to import.

    first, second = (rankdata(each.ravel()) for each in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = math.sqrt(float(first @ first) * float(second @ second))
    return float(first @ second) / size if size else float("nan")


def _similarity(
    detector: Detector,
    levels: list[Tensor],
    own: Maps,
    valid: Sequence[int],
    method: str,
    seed: int,
    copies: int,
    options: Any,
) -> tuple[NDArray[np.float64], str]:
    """Return the correlations with maps of random weights, and the reason why they are missing."""
    found = []
    for number in range(copies):
        copy = randomised(detector, levels, seed + number)
        if copy is None:
            return np.empty(0), "the weights of the detector cannot be reached"
        chosen = [levels[row] for row in valid]
        wanted = torch.from_numpy(own.towards[list(valid)])
        try:
            other = maps_towards(
                copy, chosen, wanted, method, seed, None, {**options, **METHODS[method].quick}
            )
        except UserError as error:
            return np.empty(0), f"with random weights, {error.message}"
        found += [
            rank_correlation(np.abs(own.values[row]), np.abs(values))
            for row, values, problem in zip(valid, other.values, other.problems, strict=True)
            if not problem
        ]
    correlations = np.asarray(found)[np.isfinite(found)] if found else np.empty(0)
    if not len(correlations):
        return correlations, "the maps are constant, or those of random weights are"
    return correlations, ""


def _curves(
    detector: Detector, levels: list[Tensor], own: Maps, valid: Sequence[int], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return four N×11 arrays: deletion, insertion, and both for shifted maps."""
    rows: list[list[NDArray[np.float64]]] = [[], [], [], []]
    size = default_batch_size(detector, detector.device)
    with borrowed(detector), torch.no_grad():
        for image, row in zip(levels, valid, strict=True):
            key = f"{seed} {sha256(image.contiguous().numpy().tobytes()).hexdigest()}"
            sign = torch.tensor([2.0 * float(own.towards[row]) - 1], device=detector.device)
            pixels = to_pixels(image[None].to(detector.device))
            task = Task(detector, pixels, sign, (key,), size)
            orders = [_order(torch.from_numpy(own.values[row]))]
            orders += [_order(each) for each in _shifted(torch.from_numpy(own.values[row]), key)]
            found = _answers(task, task.baseline("blur"), torch.stack(orders).to(detector.device))
            rows[0].append(found[0, 0])
            rows[1].append(found[0, 1])
            rows[2].append(found[1:, 0].mean(axis=0))
            rows[3].append(found[1:, 1].mean(axis=0))
    one, two, three, four = (np.stack(each) if each else np.empty((0, _STEPS + 1)) for each in rows)
    return one, two, three, four


def _order(values: Tensor) -> Tensor:
    """Return the share of pixels that come before each pixel, the most important first: H×W in [0, 1)."""
    order = values.flatten().argsort(descending=True, stable=True)
    places = torch.empty(len(order))
    places[order] = torch.arange(len(order)) / len(order)
    return places.view_as(values)


def _shifted(values: Tensor, key: str) -> list[Tensor]:
    """Return copies of a map, each moved around the edges by at least a quarter of a side, in one direction at least."""
    height, width = values.shape
    with seeded_global_rng(f"shifts {key}"):
        shares = 0.25 + 0.5 * torch.rand(_ROLLS, 2)
    return [
        values.roll((round(float(down) * height), round(float(across) * width)), (0, 1))
        for down, across in shares
    ]


def _answers(task: Task, start: Tensor, orders: Tensor) -> NDArray[np.float64]:
    """Return the log-odds of the explained class along both curves, M×2×11 for the orders of M maps."""
    evidence = evidence_of(task.detector)
    shares = torch.arange(_STEPS + 1, device=orders.device) / _STEPS
    first = orders[:, None] < shares[:, None, None] - 1e-9
    # Of every map both curves: what is first is blurred, or is all that is not.
    masks = torch.stack([first, ~first], dim=1).flatten(0, 2)
    answers = [
        evidence(torch.where(some[:, None], start, task.pixels), task.signs)
        for some in masks.split(task.batch_size)
    ]
    return torch.cat(answers).double().cpu().numpy().reshape(len(orders), 2, _STEPS + 1)


def _judge_gains(found: Sanity, flags: dict[str, str]) -> str:
    gains = found.gains
    if len(gains) < _FEWEST:
        return f"{counted(len(gains), 'valid map')}, and the test needs {_FEWEST}"
    better = int((gains > 0).sum())
    if binomial_tail(better, len(gains)) > _CERTAIN:
        flags[UNFAITHFUL] = (
            f"{better} of {len(gains)} maps delete and insert better than shifted ones, "
            f"by {gains.mean():.2f} nats on average"
        )
    return ""


def _judge_training(
    detector: Detector, levels: list[Tensor], labels: Tensor, own: Maps, seed: int, flags: dict[str, str]
) -> str:
    known = labels.numpy()
    if min((known == 0).sum(), (known == 1).sum()) < _FEWEST:
        return f"fewer than {_FEWEST} images of a class"
    value = area_under(roc_curve(known, own.log_odds))
    others = []
    for number in range(_COPIES):
        copy = randomised(detector, levels, seed + number)
        if copy is None:
            return "the weights of the detector cannot be reached"
        area = area_under(roc_curve(known, copy.log_odds(levels).numpy()))
        others.append(max(area, 1 - area))
    if value <= max(others):
        flags[UNTRAINED] = (
            f"AUROC {value:.2f} on these images; copies with random weights reach {max(others):.2f}"
        )
    return ""
