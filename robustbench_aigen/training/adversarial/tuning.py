"""Fine-tuning of one detector: from a file to weights, card and history; finished work is not repeated."""

import json
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import torch

from robustbench_aigen.data.inventory import describe_briefly
from robustbench_aigen.data.selection import stratified
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import describe_detector
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.provenance import hardware
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import discard, writing
from robustbench_aigen.numerics.precision import resolve_device, resolve_precision
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.runs.versions import git_revision, package_versions
from robustbench_aigen.stages.parameters import write_pixels
from robustbench_aigen.training.adversarial.budget import LENGTH, Length, length_of
from robustbench_aigen.training.adversarial.card import card_of
from robustbench_aigen.training.adversarial.checking import (
    input_size_of,
    opened_source,
    own_scenario,
    trainable_detector,
)
from robustbench_aigen.training.adversarial.file import FineTuning
from robustbench_aigen.training.adversarial.forecast import forecast
from robustbench_aigen.training.adversarial.module import AdversarialNetwork, Watching
from robustbench_aigen.training.adversarial.rates import ValidationImages
from robustbench_aigen.training.adversarial.report_cost import ReportCost, hoped_for
from robustbench_aigen.training.adversarial.report_size import SIZE, ReportSize
from robustbench_aigen.training.batches import LabelledRows
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.fitting import fit
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.jobs import CHECKPOINT
from robustbench_aigen.training.outcome import HISTORY, METRICS
from robustbench_aigen.training.recipe import Settings
from robustbench_aigen.training.saving import (
    encode_weights,
    read_json,
    write_json,
    write_table,
    write_weights,
)
from robustbench_aigen.training.splits import Splits, require_both_classes, split_source

Triple = tuple[float, float, float]
CHECKS = "checks.csv"
_BATCH_OF_CHECKS = 128


@dataclass(frozen=True)
class Tuned:
    """A finished fine-tuning: file, folder, content of ``metrics.json``, cost of a report, and the report."""

    loaded: FineTuning
    folder: Path
    metrics: dict[str, Any]
    cost: ReportCost
    report: Path | None = None

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / f"{self.loaded.name}.safetensors"


def finetune(
    loaded: FineTuning,
    output: Path,
    *,
    device: str,
    half: bool,
    fresh: bool,
    progress: Progress,
    trust_code: bool = False,
    report: bool = True,
    began: float | None = None,
) -> Tuned:
    """Fine-tune a detector in ``output/<name>/``; a stopped training resumes, a finished training is returned unchanged.

    Parameters
    ----------
    loaded
        The file.
    output
        Above the detector's folder.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    half
        Whether the weights are stored as float16.
    fresh
        Whether to discard a finished or stopped training and start again.
    progress
        The receiver of the progress.
    trust_code
        Allow detectors whose files can run code when they are loaded.
    report
        Whether a report follows, which the forecast then includes.
    began
        When the command began, on the clock of :func:`time.perf_counter`; None is now.

    Raises
    ------
    UserError
        If the file, the detector or the images are wrong, or the folder holds another training.
    """
    clock = time.perf_counter()
    began = clock if began is None else began
    tuning, place, folder = loaded, resolve_device(device), output / loaded.name
    detector = trainable_detector(loaded, place, trust_code=trust_code)
    loading, clock = time.perf_counter() - clock, time.perf_counter()
    source = opened_source(loaded)
    own_scenario(loaded)
    try:
        splits = split_source(source, tuning.data.validation, tuning.data.limit)
        require_both_classes(splits)
    except UserError as error:
        raise error.at(loaded.where("data")) from error
    opening = time.perf_counter() - clock
    for notice in (*describe_briefly(source), *describe_detector(detector), *source.notices):
        progress.notice(notice)
    size = input_size_of(detector)
    # The test images are neither decoded nor counted here: nothing of this training can depend on them.
    seen = detector.preprocessing if detector.preprocessing.crops else None
    store = LevelStore(output / ".images", source, [*splits.train, *splits.val], size, progress, seen)
    identity = _identity(tuning, detector, store, half=half)
    cost = ReportCost(loaded, detector, source, store.readable(splits.val), place, loading, opening)
    if report:
        cost.check()
    if fresh:
        with writing():
            for name in (METRICS, CHECKPOINT, LENGTH, SIZE):
                discard(folder / name)
    finished = _finished(folder, identity, progress)
    if finished is not None:
        progress.notice(f"{tuning.name}: fine-tuned already, {folder}")
        return Tuned(loaded, folder, finished, cost)
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
    train = LabelledRows.of(store, splits.train, source.samples)
    images, val = _validation(store, splits, tuning.selection.images)
    module = _judged_before(tuning, _settings(tuning, detector, size, 1), detector, images, place, progress)
    length = length_of(tuning, folder, identity, module, train, place, progress)
    sized = _size_before(cost, module, length, progress) if report else None
    told = forecast(
        tuning, time.perf_counter() - began, length.seconds, sized, goes_on=(folder / CHECKPOINT).exists()
    )
    progress.notice(f"{tuning.name}: {told}")
    settings = _settings(tuning, detector, size, length.epochs)
    fitted = _fit(module, settings, train, val, folder / CHECKPOINT, identity, place, length, progress)
    if fitted.best_epoch == 0:
        progress.notice(f"{tuning.name}: no epoch was better on validation than the original {detector.name}")
    metrics = {
        "name": tuning.name,
        "identity": identity,
        "finetuning": tuning.model_dump(mode="json"),
        "epochs": length.epochs,
        "epoch_kept": fitted.best_epoch,
        "epochs_run": len(fitted.history),
        "before": module.start.as_row(),
        "kept": module.start.as_row() if fitted.best_epoch == 0 else _rates_of(fitted),
        "collapse": None if module.collapse is None else module.collapse.as_dict(),
        "seconds": round(fitted.seconds, 1),
        "precision": fitted.precision,
        "train_images": len(train),
        "selection_images": len(val),
        "packages": package_versions(),
        "git_revision": git_revision(),
        "hardware": hardware(place),
    }
    content = encode_weights(fitted.network, half=half)
    card = card_of(loaded, detector, metrics)
    digests = write_weights(folder / f"{tuning.name}.safetensors", content, card)
    write_table(folder / HISTORY, pd.DataFrame(fitted.history))
    write_table(folder / CHECKS, pd.DataFrame(module.checks))
    write_json(folder / METRICS, metrics, digests)
    with writing():
        for name in (CHECKPOINT, LENGTH):
            (folder / name).unlink(missing_ok=True)
    return Tuned(loaded, folder, metrics, cost)


def _identity(tuning: FineTuning, detector: Detector, store: LevelStore, *, half: bool) -> str:
    # A training without ``balance`` keeps the identity that it had before that key existed.
    unread = {"report", "summary", "name"} | (set() if tuning.balance else {"balance"})
    said = {
        "finetuning": tuning.model_dump(mode="json", exclude=unread),
        "detector": detector.weights_sha256,
        "images": store.fingerprint,
        "half": half,
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _finished(folder: Path, identity: str, progress: Progress) -> dict[str, Any] | None:
    metrics = read_json(folder / METRICS, progress, "fine-tuned again")
    if metrics is None:
        return None
    if metrics.get("identity") != identity:
        raise UserError(
            f"{folder} holds another training, with other settings, detector or images",
            hint="--fresh replaces that training; another --output or name keeps both",
        )
    return metrics


def _validation(store: LevelStore, splits: Splits, count: int) -> tuple[ValidationImages, LabelledRows]:
    samples = splits.source.samples
    readable = store.readable(splits.val)
    chosen = stratified(samples, readable, count) if count < len(readable) else readable
    rows = LabelledRows.of(store, chosen, samples)
    names = tuple(samples[index].id for index in chosen)
    return ValidationImages(store.levels(rows.rows), torch.from_numpy(rows.labels), names), rows


def _settings(tuning: FineTuning, detector: Detector, size: tuple[int, int], epochs: int) -> Settings:
    schedule, preprocessing = tuning.schedule, detector.preprocessing
    return Settings(
        arch=detector.architecture,
        input_size=size,
        mean=cast(Triple, preprocessing.mean),
        std=cast(Triple, preprocessing.std),
        epochs=epochs,
        batch_size=schedule.batch_size,
        optimizer=schedule.optimizer,
        learning_rate=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        momentum=schedule.momentum,
        schedule=schedule.shape,
        early_stopping=tuning.early_stopping,
        select="accuracy",
        label_smoothing=schedule.label_smoothing,
        augmentation=tuning.augmentation,
        balance=tuning.balance,
        validation=tuning.data.validation,
        precision=tuning.precision,
        seed=tuning.seed,
    )


def _judged_before(
    tuning: FineTuning,
    settings: Settings,
    detector: Detector,
    images: ValidationImages,
    device: torch.device,
    progress: Progress,
) -> AdversarialNetwork:
    """Return the training with the validation results of the original detector, without its length."""
    precision: Literal["fp32", "bf16"] = resolve_precision(tuning.precision, device)
    progress.start(0)
    progress.work_on(tuning.name, "judging the detector before")
    with preserved_global_rng():
        module = AdversarialNetwork(detector, tuning, settings, 0, precision, images, _BATCH_OF_CHECKS)
    threat = f"{tuning.threat.norm} {write_pixels(tuning.threat.eps)}"
    progress.notice(f"{tuning.name}: {detector.name} before, under PGD at {threat}: {module.start}")
    return module


def _size_before(
    cost: ReportCost, module: AdversarialNetwork, length: Length, progress: Progress
) -> ReportSize:
    progress.work_on(module.tuning.name, "measuring how long the report will take")
    return cost.size(length.seconds, module.start.standing, hoped_for(module.start.standing))


def _fit(
    module: AdversarialNetwork,
    settings: Settings,
    train: LabelledRows,
    val: LabelledRows,
    checkpoint: Path,
    identity: str,
    device: torch.device,
    length: Length,
    progress: Progress,
) -> Fitted:
    def planned(steps: int) -> AdversarialNetwork:
        module.settings, module.steps = settings, steps
        return module

    minutes = module.tuning.budget.minutes
    watching = Watching(length.every, None if minutes is None else 60 * minutes)
    return fit(
        settings, train, val, checkpoint, name=module.tuning.name, identity=identity, device=device,
        progress=progress, make=planned, callbacks=[watching],
    )  # fmt: skip


def _rates_of(fitted: Fitted) -> dict[str, float]:
    row = fitted.history[fitted.best_epoch - 1]
    return {name: value for name, value in row.items() if name.startswith("val_")}
