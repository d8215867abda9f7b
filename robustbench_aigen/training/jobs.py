"""One training from images to weights, card, metrics and curves; stopped trainings resume."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from robustbench_aigen.detectors.probe import LinearProbe
from robustbench_aigen.detectors.svm import FittedNetwork
from robustbench_aigen.detectors.zoo import build_architecture, default_input_size
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import discard, writing
from robustbench_aigen.training.batches import LabelledRows
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.fitting import fit
from robustbench_aigen.training.images import LevelStore
from robustbench_aigen.training.outcome import METRICS, write_outcome
from robustbench_aigen.training.probe import fit_probe
from robustbench_aigen.training.recipe import Settings
from robustbench_aigen.training.saving import read_json
from robustbench_aigen.training.splits import Splits, require_both_classes
from robustbench_aigen.training.svm import fit_svm

CHECKPOINT = "checkpoint.ckpt"


@dataclass(frozen=True)
class Job:
    """One detector to be trained.

    Parameters
    ----------
    name
        Name of the detector, its files and its folder.
    recipe
        Name of the recipe, for the card.
    settings
        Settings of the training.
    splits
        The images of each split.
    variant
        The differences from the other jobs of a command: swept keys, seed, fold.
    """

    name: str
    recipe: str
    settings: Settings
    splits: Splits
    variant: Mapping[str, str] = field(default_factory=dict)

    def identity(self, fingerprint: str) -> str:
        """Return a hash of all inputs that determine the weights, with the fingerprint of the images."""
        said: dict[str, Any] = {"settings": self.settings.identity(), "images": fingerprint}
        if "fold" in self.variant:
            said["fold"] = self.variant["fold"]
        return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Trained:
    """A finished training: its job, folder, and the content of its ``metrics.json``."""

    job: Job
    folder: Path
    metrics: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the detector."""
        return self.job.name

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / f"{self.job.name}.safetensors"


def train_job(
    job: Job,
    output: Path,
    *,
    device: torch.device,
    half: bool,
    fresh: bool,
    progress: Progress,
) -> Trained:
    """Train, save and evaluate one detector in ``output/<name>/``; a finished training is returned unchanged.

    Parameters
    ----------
    job
        The job to train.
    output
        Above the detector's folder.
    device
        The device of training and evaluation.
    half
        Whether the weights are stored as float16.
    fresh
        Whether to discard a finished or stopped training and start again.
    progress
        The receiver of the progress.

    Raises
    ------
    UserError
        If the images or settings are wrong, or the folder holds another training.
    """
    folder, splits = output / job.name, job.splits
    require_both_classes(splits)
    size = input_size_of(job.settings)
    store = LevelStore(output / ".images", splits.source, [*splits.train, *splits.val], size, progress)
    identity = job.identity(store.fingerprint)
    if fresh:
        with writing():
            for name in (METRICS, CHECKPOINT):
                discard(folder / name)
    finished = _finished(folder, identity, progress, half=half)
    if finished is not None:
        progress.notice(f"{job.name}: trained already, {folder}")
        return Trained(job, folder, finished)
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
    samples = splits.source.samples
    train, val = (LabelledRows.of(store, indices, samples) for indices in (splits.train, splits.val))
    fitted = _fit(job, train, val, folder, identity, device, progress)
    said = {"name": job.name, "identity": identity, "half": half, "variant": dict(job.variant)}
    metrics = write_outcome(
        job.name, job.recipe, job.settings, splits, fitted, size, folder, said,
        val_indices=store.readable(splits.val), train_images=len(train), device=device, half=half, progress=progress,
    )  # fmt: skip
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return Trained(job, folder, metrics)


def _fit(
    job: Job,
    train: LabelledRows,
    val: LabelledRows,
    folder: Path,
    identity: str,
    device: torch.device,
    progress: Progress,
) -> Fitted:
    settings = job.settings
    _check_kind(settings)
    cache = folder.parent / ".features"
    if settings.svm is not None:
        return fit_svm(settings, settings.svm, train, cache, name=job.name, device=device, progress=progress)
    if settings.probe is not None:
        return fit_probe(
            settings, settings.probe, train, val, cache, name=job.name, device=device, progress=progress
        )
    return fit(
        settings, train, val, folder / CHECKPOINT,
        name=job.name, identity=identity, device=device, progress=progress,
    )  # fmt: skip


def _check_kind(settings: Settings) -> None:
    """Raise UserError where the recipe's key ``svm`` or ``probe`` and the network do not belong together."""
    with torch.device("meta"):
        network = build_architecture(settings.arch, **settings.untrained_options)
    wanted = (
        "probe" if isinstance(network, LinearProbe) else "svm" if isinstance(network, FittedNetwork) else None
    )
    written = [key for key in ("svm", "probe") if getattr(settings, key) is not None]
    if written == ([] if wanted is None else [wanted]):
        return
    verbs = {
        "svm": "is a support vector machine, which has no gradient to train by",
        "probe": "is a linear probe, which is fitted to features",
        None: "is neither a support vector machine nor a linear probe",
    }
    raise UserError(
        f"'{settings.arch}' {verbs[wanted]}",
        hint="write svm: {grid: {c: [1]}} for support vector machines, probe: {c: [1]} for linear probes, neither for others",
    )


def input_size_of(settings: Settings) -> tuple[int, int]:
    """Return the height and width of decoded images.

    Raises
    ------
    UserError
        If neither recipe nor architecture has one.
    """
    size = settings.input_size or default_input_size(settings.arch)
    if size is None:
        raise UserError(
            f"'{settings.arch}' takes any size, and the recipe names no size",
            hint="add input_size: [height, width]",
        )
    return size


def _finished(folder: Path, identity: str, progress: Progress, *, half: bool) -> dict[str, Any] | None:
    """Return the metrics of this training if it is finished."""
    metrics = read_json(folder / METRICS, progress, "trained again")
    if metrics is None:
        return None
    if metrics.get("identity") != identity or metrics.get("half") != half:
        raise UserError(
            f"{folder} holds another training, with other settings or images",
            hint="--fresh replaces that training; another --output or --name keeps both",
        )
    return metrics
