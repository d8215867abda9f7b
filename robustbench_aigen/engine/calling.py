"""One batch of images through one attack or perturbation: what happens when a stage is called."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from robustbench_aigen.attacks.execution import AttackOutcome, make_task, run_attack, threat_of
from robustbench_aigen.attacks.requirements import check_attack, check_gradients, check_unchanging
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector, probabilities, verdicts
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.scoring import default_batch_size, predict
from robustbench_aigen.detectors.thresholds import Threshold, as_threshold
from robustbench_aigen.engine.sizes import attack_groups, padded, same_size
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import (
    ImagesLike,
    LabelsLike,
    labels_of,
    like_given,
    to_levels_list,
)
from robustbench_aigen.numerics.precision import resolve_precision
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.scenario.scenario import Precision
from robustbench_aigen.stages.stage import Stage

_BATCH = 64
"""Images that a perturbation takes together."""


class AttackResult(NamedTuple):
    """Attacked images, N entries each, in the order of the images given.

    Parameters
    ----------
    images
        N×3×H×W float32 in [0, 1], multiples of 1/255, inside the budget; a list of 3×H×W where sizes differ. Before
        the attack's ``through``.
    success
        Whether the verdict on the 8-bit image is wrong.
    score, clean_score
        Probability of *fake* after and before the attack.
    correct_float
        Whether the verdict on the image before rounding to 8 bits is right.
    linf, l2
        Size of the perturbation in pixel units, from the image rounded to 8 bits.
    steps, queries
        Iterations taken, and images put through the attacked function.
    """

    images: Tensor | list[Tensor]
    success: Tensor
    score: Tensor
    clean_score: Tensor
    correct_float: Tensor
    linf: Tensor
    l2: Tensor
    steps: Tensor
    queries: Tensor


def call_attack(
    attack: Stage,
    detector: Detector | nn.Module,
    images: ImagesLike,
    labels: LabelsLike,
    *,
    threshold: float | Threshold | None,
    early_stop: bool,
    seed: int,
    ids: Sequence[str] | None,
    batch_size: int | None,
    precision: Precision,
) -> AttackResult:
    """Attack images; the parameters are those of :meth:`robustbench_aigen.stages.stage.Attack.__call__`."""
    if attack.is_swept:
        raise UserError(
            f"{attack.recipe.name} has several values of a parameter, and a call takes one of each",
            hint="for one in attack.expand(): one(detector, images, labels)",
        )
    _check_settings(seed, batch_size, precision)
    levels = to_levels_list(images)
    wanted = labels_of(labels, len(levels))
    judged = load_detector(detector, device="auto")
    limit = as_threshold(judged.threshold if threshold is None else threshold)
    if isinstance(limit, str):
        raise UserError(
            f"threshold '{limit}' is fitted on clean images",
            hint=f"attack(detector.with_threshold({limit!r}, clean, labels), images, labels)",
        )
    names = _names(levels, ids)
    streams = SampleStreams(seed, tuple(names), 0)
    size = batch_size or default_batch_size(judged, judged.device)
    surrogate = _surrogate(attack.surrogate, judged.device)
    check_attack(attack)
    if levels:
        judged.see(*levels[0].shape[1:])
    check_gradients(attack, surrogate or judged)
    check_unchanging(judged)
    with borrowed(judged, *([surrogate] if surrogate is not None else [])):
        clean = _log_odds(judged, levels, size)
        done = _Found(levels, clean)
        # Accuracy is decided once the verdict is wrong; what is wrong already is not searched, as in a run.
        rows = [
            row
            for row in range(len(levels))
            if not early_stop or bool(verdicts(clean[row : row + 1], limit) == wanted[row])
        ]
        if threat_of(attack).reach == 0:
            rows = []
        for group in attack_groups((attack,), judged, surrogate, levels, rows):
            stack, sizes = padded([levels[row] for row in group])
            task = make_task(
                attack,
                judged,
                stack,
                wanted[group],
                streams.select(group),
                threshold=limit,
                early_stop=early_stop and attack.is_judged_as_crafted,
                batch_size=size,
                device=judged.device,
                precision=resolve_precision(precision, judged.device),
                sizes=sizes,
                surrogate=surrogate,
            )
            done.put(group, run_attack(attack, task, _silent))
    verdict = verdicts(done.log_odds, limit)
    pixels = [to_pixels(image) for image in done.levels]
    alike = len({image.shape for image in pixels}) == 1
    return AttackResult(
        torch.stack(pixels) if alike else pixels,
        verdict != wanted,
        probabilities(done.log_odds),
        probabilities(clean),
        torch.where(done.searched, done.correct_float, verdict == wanted),
        done.linf,
        done.l2,
        done.steps,
        done.queries,
    )


def _check_settings(seed: object, batch_size: object = None, precision: str = "auto") -> None:
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"seed must be a whole number, not {seed!r}", hint="seed=42")
    if batch_size is not None and (
        not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1
    ):
        raise UserError(
            f"batch_size must be a whole number above 0, not {batch_size!r}", hint="batch_size=64"
        )
    if precision not in get_args(Precision):
        raise UserError(f"no precision {precision!r}", hint=did_you_mean(str(precision), get_args(Precision)))


class _Found:
    """What came of some images, filled group by group."""

    def __init__(self, levels: list[Tensor], clean: Tensor) -> None:
        count = len(levels)
        self.levels, self.log_odds = list(levels), clean.clone()
        self.searched = torch.zeros(count, dtype=torch.bool)
        self.correct_float = torch.zeros(count, dtype=torch.bool)
        self.linf, self.l2 = torch.zeros(count), torch.zeros(count)
        self.steps = torch.zeros(count, dtype=torch.long)
        self.queries = torch.zeros(count, dtype=torch.long)

    def put(self, rows: list[int], outcome: AttackOutcome) -> None:
        for place, row in enumerate(rows):
            height, width = self.levels[row].shape[1:]
            self.levels[row] = outcome.levels[place, :, :height, :width]
        self.searched[rows] = True
        for name in ("log_odds", "correct_float", "linf", "l2", "steps", "queries"):
            getattr(self, name)[rows] = getattr(outcome, name)


def call_perturbation(
    perturbation: Stage, images: ImagesLike, *, seed: int, ids: Sequence[str] | None
) -> object:
    """Perturb images; out comes what went in: a tensor, a PIL image, a list."""
    _one_of_each(perturbation)
    _check_settings(seed)
    levels = to_levels_list(images)
    streams = SampleStreams(seed, tuple(_names(levels, ids)), 0)
    done = list(levels)
    for group in same_size(levels, range(len(levels))):
        for first in range(0, len(group), _BATCH):
            rows = group[first : first + _BATCH]
            changed = perturb(perturbation, torch.stack([levels[row] for row in rows]), streams.select(rows))
            for row, image in zip(rows, changed, strict=True):
                done[row] = image
    return like_given(done, images)


def call_differentiable(
    perturbation: Stage, pixels: Tensor, *, seed: int, ids: Sequence[str] | None
) -> Tensor:
    """Return the differentiable stand-in of a perturbation on N×3×H×W float pixels in [0, 1]."""
    _one_of_each(perturbation)
    _check_settings(seed)
    if not (isinstance(pixels, Tensor) and pixels.is_floating_point() and pixels.dim() == 4):
        given = f"a tensor of {pixels.dtype}" if isinstance(pixels, Tensor) else f"a {type(pixels).__name__}"
        raise UserError(
            f"pixels must be a float tensor N×3×H×W in [0, 1], not {given}", hint="images.float() / 255"
        )
    names = ids or [str(place) for place in range(len(pixels))]
    smooth = perturb_differentiably(perturbation, pixels, SampleStreams(seed, tuple(names), 0))
    if smooth is None:
        raise UserError(
            f"{perturbation.recipe.name} has no differentiable stand-in",
            hint="attacks through it use the gradient of the identity (BPDA)",
        )
    return smooth


def _one_of_each(stage: Stage) -> None:
    if stage.is_swept:
        raise UserError(
            f"{stage.recipe.name} has several values of {stage.own_sweeps[0]}, and a call takes one",
            hint="for one in perturbation.expand(): one(images)",
        )


def _names(levels: list[Tensor], ids: Sequence[str] | None) -> list[str]:
    """Return what random streams are keyed by: ids, or the sha256 of each image."""
    if ids is None:
        return [
            sha256(f"{tuple(image.shape)}".encode() + image.contiguous().numpy().tobytes()).hexdigest()
            for image in levels
        ]
    if isinstance(ids, str):
        raise UserError(f"ids is the text {ids!r}", hint="give a list with one id for each image")
    names = [str(name) for name in ids]
    if len(names) != len(levels):
        raise UserError(f"{len(names)} ids for {len(levels)} images", hint="give one id for each image")
    return names


def _surrogate(given: object, device: torch.device) -> Detector | None:
    if given is None:
        return None
    if isinstance(given, DetectorSpec | str | Detector | nn.Module):
        return load_detector(given, device=device)
    raise UserError(f"the surrogate is a {type(given).__name__}", hint="give a detector, its id, or its file")


def _log_odds(detector: Detector, levels: list[Tensor], batch_size: int) -> Tensor:
    found = torch.empty(len(levels))
    for rows in same_size(levels, range(len(levels))):
        found[rows] = predict(detector, [levels[row] for row in rows], batch_size, detector.device)
    return found


def _silent(images: int) -> None:
    """Report no progress."""
    del images
