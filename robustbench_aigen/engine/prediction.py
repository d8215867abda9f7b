"""Scores of single pictures, before and after an attack: the way of a run without its records."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigen.attacks.execution import AttackOutcome, make_task, run_attack
from robustbench_aigen.attacks.requirements import check_attack, check_gradients, check_unchanging
from robustbench_aigen.detectors.contract import Detector, probabilities, verdicts
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.detectors.thresholds import Threshold
from robustbench_aigen.documents.document import validated_part
from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml
from robustbench_aigen.engine.cell import Cell
from robustbench_aigen.engine.examination import examine, judge_repeats
from robustbench_aigen.engine.identity import Settings
from robustbench_aigen.engine.shards import SHARD_SIZE
from robustbench_aigen.engine.sizes import attack_groups, padded
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.memory import is_out_of_memory
from robustbench_aigen.numerics.precision import resolve_precision
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.scenario.detector_spec import DetectorSpec
from robustbench_aigen.stages.pipeline import CLEAN, Pipeline
from robustbench_aigen.stages.stage import Attack, stage_from_dict
from robustbench_aigen.trust.check import Checks
from robustbench_aigen.trust.flags import Measurement

_SEED = 42
_REPEATED = 16
"""Pictures that are asked for several times."""


def _score(log_odds: float) -> float:
    return float(probabilities(torch.tensor(log_odds)))


class Attacked(NamedTuple):
    """A picture after an attack.

    ``label`` is what the attack argued against; ``levels`` the 8-bit picture, 3×H×W uint8, None once it
    is not needed; ``linf`` and ``l2`` are
    its distance to the original in pixel units.
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
    """What a detector says of a picture: log-odds of *fake*, the verdict (0 real, 1 fake), and both after an attack."""

    image: Path
    log_odds: float
    verdict: int
    attacked: Attacked | None

    @property
    def score(self) -> float:
        """The probability of *fake*."""
        return _score(self.log_odds)


class NoVerdict(NamedTuple):
    """A picture for which the detector answers NaN or infinity, with or without the attack, and when."""

    image: Path
    reason: str


class Unreadable(NamedTuple):
    """A picture that cannot be read, and why."""

    image: Path
    reason: str


def bind_attack(attack: str, given: Mapping[str, object], folder: Path) -> Attack:
    """Bind a recipe to parameters, as a stage of a scenario would be.

    Parameters
    ----------
    attack
        The name of a recipe, or a recipe file.
    given
        Its parameters, ``through``, ``eot`` and ``surrogate`` included; a list of values is none, nothing is swept.
    folder
        Where relative paths start.

    Raises
    ------
    UserError
        For an unknown attack or parameter, or a value that it does not take.
    """

    def surrogate(value: object) -> DetectorSpec:
        return validated_part(DetectorSpec, value, LocatedYaml(NOWHERE, {}), ("surrogate",))

    try:
        stage = stage_from_dict({**given, "attack": attack}, folder, surrogate)
        assert isinstance(stage, Attack)
        if not stage.is_swept:
            check_attack(stage)
    except UserError as error:
        # There is no file and no line to it.
        raise UserError(error.message, hint=error.hint) from None
    if stage.is_swept:
        raise UserError("one value for each parameter: nothing is swept here")
    return stage


@dataclass(frozen=True)
class Predictor:
    """A detector with a threshold, and an attack on it if there is one.

    Parameters
    ----------
    detector
        Who is asked, on ``device``.
    threshold
        From where on a picture is called fake.
    device
        Where to compute.
    stage
        The attack; None for none.
    label
        What the attack argues against, 0 or 1; None for the detector's own verdict on each picture.
    surrogate
        What the attack is crafted on, where its stage names another detector.
    """

    detector: Detector
    threshold: Threshold
    device: torch.device
    stage: Attack | None = None
    label: int | None = None
    surrogate: Detector | None = None

    def predict(
        self, files: Sequence[Path], advance: Callable[[int], None] = lambda _: None
    ) -> Iterator[Prediction | NoVerdict | Unreadable]:
        """Yield what there is to say of every picture, in order, holding some hundred at a time.

        With an attack every picture gets every step: what is shown is a score, not only whether it crossed the
        threshold. ``advance`` is told how many more pictures are done, which with an attack is before they are yielded.

        Raises
        ------
        UserError
            If there is not enough memory for a single picture, or the attack follows gradients that are not there.
        """
        if self.stage is not None:
            check_gradients(self.stage, self.surrogate or self.detector)
            check_unchanging(self.detector)
        size = default_batch_size(self.detector, self.device)
        for first in range(0, len(files), SHARD_SIZE):
            found = [_read(file) for file in files[first : first + SHARD_SIZE]]
            told = _Told(len(found), advance)
            pictures = [item for item in found if isinstance(item, _Picture)]
            predicted, size = self._within_memory(pictures, size, told)
            told(len(found))
            of_file = {each.image: each for each in predicted}
            for item in found:
                yield item if isinstance(item, Unreadable) else of_file[item.file]

    def repeatability(self, files: Sequence[Path]) -> dict[str, Measurement]:
        """Return by flags whether the detector's answers to the first pictures depend on the call or on the pictures beside them."""
        pictures = [item for item in map(_read, files[:_REPEATED]) if isinstance(item, _Picture)]
        levels, names = [each.levels for each in pictures], [str(each.file) for each in pictures]
        repeated = examine(self.detector, levels, names, self.device, needs_finite=False)
        return {} if repeated is None else judge_repeats(repeated, Checks())

    def _within_memory(
        self, pictures: list["_Picture"], size: int, advance: Callable[[int], None]
    ) -> tuple[list[Prediction | NoVerdict], int]:
        """Predict with batches as large as there is memory for, and return how large they are."""
        while True:
            try:
                return self._predicted(pictures, size, advance), size
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == 1:
                    raise UserError(
                        f"not enough memory for one image through {self.detector.name} at a time"
                    ) from error
                size //= 2

    def _predicted(
        self, pictures: list["_Picture"], size: int, advance: Callable[[int], None]
    ) -> list[Prediction | NoVerdict]:
        levels = [picture.levels for picture in pictures]
        log_odds = self._cell(size).log_odds(levels, [str(picture.file) for picture in pictures])
        verdict = verdicts(log_odds, self.threshold)
        attacked: list[Attacked | None] = [None] * len(pictures)
        if self.stage is not None and pictures:
            labels = verdict if self.label is None else torch.full_like(verdict, self.label)
            finite = log_odds.isfinite().nonzero().flatten().tolist()
            for rows in attack_groups((self.stage,), self.detector, self.surrogate, levels, finite):
                outcome = self._attack(
                    self.stage, [pictures[row] for row in rows], labels[rows], size, advance
                )
                for place, row in enumerate(rows):
                    height, width = levels[row].shape[1:]
                    attacked[row] = self._of(outcome, place, int(labels[row]), (height, width))
        return [
            self._said(picture.file, float(log_odds[row]), int(verdict[row]), attacked[row])
            for row, picture in enumerate(pictures)
        ]

    @staticmethod
    def _said(file: Path, log_odds: float, verdict: int, attacked: Attacked | None) -> Prediction | NoVerdict:
        if not math.isfinite(log_odds):
            return NoVerdict(file, "the detector answers NaN or infinity")
        if attacked is not None and not math.isfinite(attacked.log_odds):
            return NoVerdict(file, "the detector answers NaN or infinity after the attack")
        return Prediction(file, log_odds, verdict, attacked)

    def _attack(
        self,
        stage: Attack,
        pictures: list["_Picture"],
        labels: Tensor,
        batch_size: int,
        advance: Callable[[int], None],
    ) -> AttackOutcome:
        stack, sizes = padded([picture.levels for picture in pictures])
        task = make_task(
            stage,
            self.detector,
            stack,
            labels,
            SampleStreams(_SEED, tuple(str(picture.file) for picture in pictures), 0),
            threshold=self.threshold,
            early_stop=False,
            batch_size=batch_size,
            device=self.device,
            precision=resolve_precision("auto", self.device),
            sizes=sizes,
            surrogate=self.surrogate,
        )
        return run_attack(stage, task, advance)

    def _of(self, outcome: AttackOutcome, place: int, label: int, size: tuple[int, int]) -> Attacked:
        log_odds = outcome.log_odds[place]
        return Attacked(
            label,
            float(log_odds),
            int(verdicts(log_odds, self.threshold)),
            float(outcome.linf[place]),
            float(outcome.l2[place]),
            int(outcome.steps[place]),
            int(outcome.queries[place]),
            outcome.levels[place, :, : size[0], : size[1]],
        )

    def _cell(self, batch_size: int) -> Cell:
        precision = resolve_precision("auto", self.device)
        settings = Settings(_SEED, "both", "score", precision, self.device.type, batch_size, self.threshold)
        return Cell(self.detector, Pipeline(CLEAN, ()), settings, self.device)


class _Told:
    """Passes progress on, up to the number of pictures: a second try with smaller batches counts none twice."""

    def __init__(self, pictures: int, advance: Callable[[int], None]) -> None:
        self._left, self._advance = pictures, advance

    def __call__(self, pictures: int) -> None:
        more = min(pictures, self._left)
        self._left -= more
        self._advance(more)


class _Picture(NamedTuple):
    file: Path
    levels: Tensor


def _read(file: Path) -> _Picture | Unreadable:
    try:
        return _Picture(file, decode(read_file(file)))
    except UnreadableImageError as error:
        return Unreadable(file, str(error))
    except OSError as error:
        return Unreadable(file, error.strerror or str(error))
