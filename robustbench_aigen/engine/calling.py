"""Calls of a single attack or perturbation on one batch of images, and predictions for files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from PIL.Image import Image
from torch import Tensor, nn

from robustbench_aigen.attacks.execution import threat_of
from robustbench_aigen.attacks.requirements import check_attack, check_gradients, check_unchanging
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector, probabilities, verdicts
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.thresholds import Threshold, as_threshold
from robustbench_aigen.detectors.trial import check_finite
from robustbench_aigen.engine.batch import AttackedBatch, attack_batch, delivered, log_odds_of
from robustbench_aigen.engine.shards import SHARD_SIZE
from robustbench_aigen.engine.sizes import attack_groups, same_size
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import (
    ImagesLike,
    LabelsLike,
    labels_of,
    like_given,
    names_of,
    to_levels_list,
)
from robustbench_aigen.numerics.memory import within_memory
from robustbench_aigen.numerics.precision import Precision
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations.application import perturb, perturb_differentiably
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.stages.stage import Attack, Perturbation, Stage

_SEED = 42
_BATCH = 64
"""Number of images in a batch of a perturbation."""


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
    distance
        After a minimum-norm attack, the length of the change in the unit of the budget; infinite where the attack has
        no success, NaN after another attack.
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
    distance: Tensor


def call_attack(
    attack: Attack,
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
            f"{attack.recipe.name} has several values of a parameter, and a call takes one value",
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
    surrogate = _surrogate(attack.surrogate, judged.device)
    check_attack(attack)
    if levels:
        judged.see(*levels[0].shape[1:])
    check_call(attack, judged, surrogate)

    def push(size: int) -> Answers:
        return answers(
            judged, levels, names, threshold=limit, attack=attack, surrogate=surrogate, labels=wanted,
            early_stop=early_stop, seed=seed, batch_size=size, precision=precision,
        )  # fmt: skip

    with borrowed(judged, *([surrogate] if surrogate is not None else [])):
        done, _ = within_memory(push, batch_size or default_batch_size(judged, judged.device), judged.name)
    shown = names_of(images) if ids is None else names
    check_finite(judged, done.clean, shown)
    check_finite(judged, done.log_odds, shown, attack.recipe.name)
    verdict = verdicts(done.log_odds, limit)
    pixels = [to_pixels(image) for image in done.levels]
    alike = len({image.shape for image in pixels}) == 1
    return AttackResult(
        torch.stack(pixels) if alike else pixels,
        verdict != wanted,
        probabilities(done.log_odds),
        probabilities(done.clean),
        torch.where(done.searched, done.correct_float, verdict == wanted),
        done.linf,
        done.l2,
        done.steps,
        done.queries,
        done.distance,
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
        raise UserError(
            f"unknown precision {precision!r}", hint=did_you_mean(str(precision), get_args(Precision))
        )


def check_call(attack: Attack, detector: Detector, surrogate: Detector | None) -> None:
    """Refuse an attack that needs missing gradients, and detectors that change.

    Raises
    ------
    UserError
        With the reason.
    """
    check_gradients(attack, surrogate or detector)
    check_unchanging(detector)


class Answers:
    """The outputs of a detector for N images, before and after an attack; equal if there is no attack.

    Attributes
    ----------
    clean, log_odds
        Log-odds of *fake* before and after the attack.
    labels
        The verdicts that the attack has to change, 0 or 1.
    levels
        The images after the attack, 3×H×W uint8.
    searched
        Which images the attack searched; for the others the following values are zero.
    correct_float, linf, l2, distance, steps, queries
        As in :class:`AttackResult`.
    """

    def __init__(self, levels: Sequence[Tensor], clean: Tensor, labels: Tensor) -> None:
        count = len(levels)
        self.levels, self.clean, self.log_odds, self.labels = list(levels), clean, clean.clone(), labels
        self.searched = torch.zeros(count, dtype=torch.bool)
        self.correct_float = torch.zeros(count, dtype=torch.bool)
        self.linf, self.l2 = torch.zeros(count), torch.zeros(count)
        self.distance = torch.full((count,), torch.nan)
        self.steps = torch.zeros(count, dtype=torch.long)
        self.queries = torch.zeros(count, dtype=torch.long)

    def put(self, rows: list[int], batch: AttackedBatch) -> None:
        """Fill in an attack's results for some of the images."""
        for row, image in zip(rows, batch.images, strict=True):
            self.levels[row] = image
        self.searched[rows] = True
        for name in ("log_odds", "correct_float", "linf", "l2", "distance", "steps", "queries"):
            getattr(self, name)[rows] = getattr(batch.outcome, name)


def _silent(images: int) -> None:
    """Report no progress."""
    del images


def answers(
    detector: Detector,
    levels: Sequence[Tensor],
    names: Sequence[str],
    *,
    threshold: Threshold,
    attack: Attack | None = None,
    surrogate: Detector | None = None,
    labels: Tensor | None = None,
    early_stop: bool = False,
    seed: int,
    batch_size: int,
    precision: Precision = "auto",
    advance: Callable[[int], None] = _silent,
) -> Answers:
    """Return the outputs of a detector for some images, before and after an attack.

    Parameters
    ----------
    detector, threshold
        The detector, and the score from which on an image is called fake.
    levels, names
        N images 3×H×W uint8 of any sizes, and the keys of their random streams.
    attack, surrogate
        The attack, and the detector that it is crafted on, if another; None for no attack.
    labels
        N labels, 0 or 1, that the attack has to change; by default the detector's own verdicts.
    early_stop
        Whether an image is finished once its verdict is wrong. Images with a wrong verdict are then not searched, as in
        a run.
    seed, batch_size, precision
        As for a run.
    advance
        Called with the number of images that the attack has newly finished.
    """
    clean = log_odds_of(detector, levels, names, batch_size, detector.device)
    done = Answers(levels, clean, verdicts(clean, threshold) if labels is None else labels)
    if attack is None:
        return done
    streams, has_budget = SampleStreams(seed, tuple(names), 0), threat_of(attack).reach != 0
    if attack.through and (early_stop or not has_budget):
        # The verdict behind the operations of ``through`` decides which images are attacked.
        shown = delivered(attack, levels, streams, batch_size)
        done.log_odds = log_odds_of(detector, shown, names, batch_size, detector.device)
    rows = done.clean.isfinite() & done.log_odds.isfinite() & has_budget
    if early_stop:
        rows &= verdicts(done.log_odds, threshold) == done.labels
    for group in attack_groups(
        (attack,), detector, surrogate, list(levels), rows.nonzero().flatten().tolist()
    ):
        batch = attack_batch(
            attack,
            detector,
            [levels[row] for row in group],
            done.labels[group],
            streams.select(group),
            threshold=threshold,
            early_stop=early_stop and attack.is_judged_as_crafted,
            batch_size=batch_size,
            device=detector.device,
            precision=precision,
            surrogate=surrogate,
            advance=advance,
        )
        done.put(group, batch)
    return done


def call_perturbation(
    perturbation: Perturbation, images: ImagesLike, *, seed: int, ids: Sequence[str] | None
) -> Tensor | Image | list[Tensor | Image]:
    """Perturb images and return them in the given form: a tensor, a PIL image or a list."""
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
    perturbation: Perturbation, pixels: Tensor, *, seed: int, ids: Sequence[str] | None
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
            f"{stage.recipe.name} has several values of {stage.own_sweeps[0]}, and a call takes one value",
            hint="for one in perturbation.expand(): one(images)",
        )


def _names(levels: list[Tensor], ids: Sequence[str] | None) -> list[str]:
    """Return the keys of the random streams: ids, or the sha256 of each image."""
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


def _score(log_odds: float) -> float:
    return float(probabilities(torch.tensor(log_odds)))


class Attacked(NamedTuple):
    """A picture after an attack.

    ``label`` is the verdict that the attack had to change; ``levels`` the 8-bit picture, 3×H×W uint8, or None once the
    picture is not needed; ``linf`` and ``l2`` are its distance to the original in pixel units.
    """

    label: int
    log_odds: float
    verdict: int
    linf: float
    l2: float
    steps: int
    queries: int
    levels: Tensor | None

    @property
    def score(self) -> float:
        """The probability of *fake*."""
        return _score(self.log_odds)

    @property
    def fooled(self) -> bool:
        """Whether the verdict is not the label."""
        return self.verdict != self.label


class Prediction(NamedTuple):
    """Verdict on a picture: log-odds of *fake*, the verdict (0 real, 1 fake), and both after an attack.

    ``shape`` is the picture's height and width.
    """

    image: Path
    log_odds: float
    verdict: int
    attacked: Attacked | None
    shape: tuple[int, int]

    @property
    def score(self) -> float:
        """The probability of *fake*."""
        return _score(self.log_odds)


class NoVerdict(NamedTuple):
    """A picture for which the detector answers NaN or infinity, with or without the attack, and when."""

    image: Path
    reason: str


class UnreadablePicture(NamedTuple):
    """A picture that cannot be read, and why."""

    image: Path
    reason: str


@dataclass(frozen=True)
class Predictor:
    """A detector with a threshold, and an attack on it if there is one.

    Parameters
    ----------
    detector, threshold
        The detector, and the score from which on a picture is called fake.
    attack
        The attack, or None.
    label
        The label that the attack has to change, 0 or 1; None for the detector's own verdict on each picture.
    surrogate
        The detector that the attack is crafted on, if its stage names another detector.
    """

    detector: Detector
    threshold: Threshold
    attack: Attack | None = None
    label: int | None = None
    surrogate: Detector | None = None

    def predict(
        self, files: Sequence[Path], advance: Callable[[int], None] = _silent
    ) -> Iterator[Prediction | NoVerdict | UnreadablePicture]:
        """Yield the prediction for every picture, in order, with about a hundred in memory.

        With an attack every picture gets every step, because the score is shown and not only the verdict. ``advance``
        is called with the number of newly finished pictures; with an attack, before they are yielded.

        Raises
        ------
        UserError
            If there is not enough memory for a single picture, or the attack needs gradients that the detector lacks.
        """
        if self.attack is not None:
            check_call(self.attack, self.detector, self.surrogate)
        size = default_batch_size(self.detector, self.detector.device)
        for first in range(0, len(files), SHARD_SIZE):
            chunk = [read_picture(file) for file in files[first : first + SHARD_SIZE]]
            pictures = {each.file: each.levels for each in chunk if isinstance(each, Picture)}
            counted = _Counted(len(chunk), advance)
            predictions, size = within_memory(
                partial(self._predicted, pictures, counted), size, self.detector.name
            )
            counted(len(chunk))
            for each in chunk:
                yield predictions[each.file] if isinstance(each, Picture) else each

    def _predicted(
        self, pictures: Mapping[Path, Tensor], advance: Callable[[int], None], batch_size: int
    ) -> dict[Path, Prediction | NoVerdict]:
        labels = None if self.label is None else torch.full((len(pictures),), self.label)
        done = answers(
            self.detector, list(pictures.values()), [str(file) for file in pictures], threshold=self.threshold,
            attack=self.attack, surrogate=self.surrogate, labels=labels, seed=_SEED, batch_size=batch_size,
            advance=advance,
        )  # fmt: skip
        return {
            file: self._prediction(file, done, row, levels)
            for row, (file, levels) in enumerate(pictures.items())
        }

    def _prediction(self, file: Path, done: Answers, row: int, levels: Tensor) -> Prediction | NoVerdict:
        clean, after = done.clean[row], done.log_odds[row]
        if not clean.isfinite():
            return NoVerdict(file, "the detector answers NaN or infinity")
        if not after.isfinite():
            return NoVerdict(file, "the detector answers NaN or infinity after the attack")
        verdict, attacked = int(verdicts(clean, self.threshold)), None
        if self.attack is not None:
            attacked = Attacked(
                int(done.labels[row]),
                float(after),
                int(verdicts(after, self.threshold)),
                float(done.linf[row]),
                float(done.l2[row]),
                int(done.steps[row]),
                int(done.queries[row]),
                done.levels[row],
            )
        return Prediction(file, float(clean), verdict, attacked, (levels.shape[1], levels.shape[2]))


class _Counted:
    """Passes progress on and counts no picture twice after a retry with smaller batches."""

    def __init__(self, pictures: int, advance: Callable[[int], None]) -> None:
        self._left, self._advance = pictures, advance

    def __call__(self, pictures: int) -> None:
        more = min(pictures, self._left)
        self._left -= more
        self._advance(more)


class Picture(NamedTuple):
    """A decoded picture: 3×H×W uint8."""

    file: Path
    levels: Tensor


def read_picture(file: Path) -> Picture | UnreadablePicture:
    """Read an image file as the engine reads it."""
    try:
        return Picture(file, decode(read_file(file)))
    except UnreadableImageError as error:
        return UnreadablePicture(file, str(error))
    except OSError as error:
        return UnreadablePicture(file, error.strerror or str(error))
