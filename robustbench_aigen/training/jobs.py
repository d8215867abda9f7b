"""One training from images to weights, card, metrics and curves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load as load_safetensors
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustbench_aigen.detectors.contract import FAKE, Detector, Preprocessing
from robustbench_aigen.detectors.thresholds import fit_threshold
from robustbench_aigen.detectors.zoo import default_input_size
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.provenance import git_revision, hardware, package_versions
from robustbench_aigen.engine.store import writing
from robustbench_aigen.errors import UserError
from robustbench_aigen.training.batches import LabelledRows
from robustbench_aigen.training.evaluation import (
    Scored,
    figures,
    of_generators,
    roc_points,
    score_images,
    tpr_by_generator,
)
from robustbench_aigen.training.fitting import Fitted, fit
from robustbench_aigen.training.images import LevelStore, Splits, require_both_classes
from robustbench_aigen.training.recipe import Settings
from robustbench_aigen.training.saving import encode_weights, write_json, write_table, write_weights

METRICS, HISTORY, ROC, CHECKPOINT = "metrics.json", "history.csv", "roc.csv", "checkpoint.ckpt"


@dataclass(frozen=True)
class Job:
    """One detector to be trained.

    Parameters
    ----------
    name
        Of the detector, its files and its folder.
    recipe
        Name of the recipe, for the card.
    settings
        How it is trained.
    generators
        On whose fakes; None is all.
    limit
        At most so many images of each split; None is all.
    """

    name: str
    recipe: str
    settings: Settings
    generators: tuple[str, ...] | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Trained:
    """A finished training: its job, where it is, and the content of its ``metrics.json``."""

    job: Job
    folder: Path
    metrics: Mapping[str, Any]

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.folder / f"{self.job.name}.safetensors"


def train_job(
    job: Job,
    splits: Splits,
    output: Path,
    *,
    device: torch.device,
    half: bool,
    fresh: bool,
    progress: Progress,
) -> Trained:
    """Train, save and evaluate one detector in ``output/<name>/``; a finished one is returned as it is.

    Parameters
    ----------
    job
        What is trained.
    splits
        All images of the data; the job takes its generators' from them.
    output
        Above the detector's folder.
    device
        Where it is trained and evaluated.
    half
        Whether the weights are stored as float16.
    fresh
        Whether a finished or stopped training is given up and begun anew.
    progress
        Who is told.

    Raises
    ------
    UserError
        If the images or settings are at fault, or the folder holds another training.
    """
    folder = output / job.name
    own = splits.of(job.generators)
    require_both_classes(own)
    store = LevelStore(
        output / ".images", splits.source, [*own.train, *own.val], input_size_of(job.settings), progress
    )
    identity = _identity(job, store.fingerprint)
    if fresh:
        with writing():
            for name in (METRICS, CHECKPOINT):
                (folder / name).unlink(missing_ok=True)
    finished = _finished(folder, identity, half=half)
    if finished is not None:
        progress.notice(f"{job.name}: trained already, {folder}")
        return Trained(job, folder, finished)
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
    samples = splits.source.samples
    train, val = (LabelledRows.of(store, indices, samples) for indices in (own.train, own.val))
    fitted = fit(
        job.settings, train, val, folder / CHECKPOINT,
        name=job.name, identity=identity, device=device, progress=progress,
    )  # fmt: skip
    metrics = _save(job, own, fitted, folder, len(train), identity, device, progress, half=half)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return Trained(job, folder, metrics)


def input_size_of(settings: Settings) -> tuple[int, int]:
    """Return the height and width that images are decoded to.

    Raises
    ------
    UserError
        If neither recipe nor architecture has one.
    """
    size = settings.input_size or default_input_size(settings.arch)
    if size is None:
        raise UserError(
            f"'{settings.arch}' takes any size, and the recipe names none",
            hint="add input_size: [height, width]",
        )
    return size


def _identity(job: Job, fingerprint: str) -> str:
    said = {"settings": job.settings.model_dump(mode="json"), "images": fingerprint}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _finished(folder: Path, identity: str, *, half: bool) -> dict[str, Any] | None:
    """Return the metrics of this very training where it is finished."""
    file = folder / METRICS
    if not file.is_file():
        return None
    metrics: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if metrics.get("identity") != identity or metrics.get("half") != half:
        raise UserError(
            f"{folder} holds another training, with other settings or images",
            hint="--fresh replaces it; another --output or --name keeps it",
        )
    return metrics


def _save(
    job: Job,
    splits: Splits,
    fitted: Fitted,
    folder: Path,
    train_images: int,
    identity: str,
    device: torch.device,
    progress: Progress,
    *,
    half: bool,
) -> dict[str, Any]:
    """Write weights, card, metrics and tables, the figures taken from the weights as they are stored."""
    history = pd.DataFrame(fitted.history)
    content = encode_weights(fitted.network, half=half)
    detector = _deployed(job, fitted.network, content, device)
    val = score_images(detector, splits.source, splits.val, device, progress, "validation")
    rule = job.settings.threshold
    threshold = rule if isinstance(rule, float) else fit_threshold(rule, val.scores, val.labels)
    parts = {"validation": val}
    if splits.test:
        test = score_images(detector, splits.source, splits.test, device, progress, "test")
        parts["test"] = of_generators(test, splits.generators)
        if len(parts["test"].samples) < len(test.samples):
            parts["test, all generators"] = test
    found = {name: _at_both(scored, threshold) for name, scored in parts.items()}
    card = _card(job, splits, fitted, train_images) | {
        "threshold": threshold,
        "threshold_rule": rule,
        "clean_validation": _short(found["validation"]),
    }
    if "test" in found:
        everything = parts.get("test, all generators", parts["test"])
        own = ", ".join(splits.generators)
        card["clean_test"] = {
            **_short(found["test"]),
            "note": f"test split, fakes of {own} and the reals they belong to, at the fitted threshold",
            "tpr_by_generator": tpr_by_generator(everything, threshold),
        }
    metrics = {
        "name": job.name,
        "identity": identity,
        "half": half,
        "weights_sha256": detector.weights_sha256,
        "settings": job.settings.model_dump(mode="json"),
        "figures": found,
        "cost": cost(detector, fitted, device),
        "packages": package_versions(),
        "git_revision": git_revision(),
        "hardware": hardware(device),
    }
    write_weights(folder / f"{job.name}.safetensors", content, card)
    write_table(folder / HISTORY, history)
    write_table(folder / ROC, _roc_table(parts))
    write_json(folder / METRICS, metrics)
    return metrics


def _deployed(job: Job, network: nn.Module, content: bytes, device: torch.device) -> Detector:
    """Return the detector that stored weights make."""
    stored = load_safetensors(content)
    network.load_state_dict({key: stored[key].to(value.dtype) for key, value in network.state_dict().items()})
    settings = job.settings
    preprocessing = Preprocessing(input_size_of(settings), settings.mean, settings.std)
    digest = sha256(content).hexdigest()
    detector = Detector(
        network, preprocessing, name=job.name, architecture=settings.arch, weights_sha256=digest
    )
    return detector.to(device)


def _at_both(scored: Scored, threshold: float) -> dict[str, Any]:
    return {"fitted": figures(scored, threshold), "at_half": figures(scored, 0.5)}


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("accuracy", "balanced_accuracy", "tpr", "tnr", "auroc", "n", "answers_one_class")
    return {key: found["fitted"][key] for key in keys} | {"accuracy_at_half": found["at_half"]["accuracy"]}


def _roc_table(parts: Mapping[str, Scored]) -> pd.DataFrame:
    tables = []
    for name, scored in parts.items():
        if len({*scored.labels.tolist()}) == 2:
            fpr, tpr, thresholds = roc_points(scored)
            tables.append(
                pd.DataFrame(
                    {"images": name, "fpr": fpr.numpy(), "tpr": tpr.numpy(), "threshold": thresholds}
                )
            )
    return pd.concat(tables)


def _card(job: Job, splits: Splits, fitted: Fitted, train_images: int) -> dict[str, Any]:
    settings = job.settings
    best = fitted.history[fitted.best_epoch - 1]
    return {
        "id": job.name,
        "arch": settings.arch,
        "arch_options": settings.arch_options,
        "input_size": list(input_size_of(settings)),
        "mean": list(settings.mean),
        "std": list(settings.std),
        "fake_index": FAKE,
        "data": splits.source.name,
        "generators": splits.generators,
        "train_images": train_images,
        "training": {
            "recipe": job.recipe,
            **settings.model_dump(
                mode="json", exclude={"arch", "arch_options", "input_size", "mean", "std", "threshold"}
            ),
            "precision": fitted.precision,
            "epochs_run": len(fitted.history),
            "epoch_kept": fitted.best_epoch,
            "selection": f"validation {settings.select} ({best['val_' + settings.select]:.4f})",
            "seconds": round(fitted.seconds, 1),
        },
    }


def cost(detector: Detector, fitted: Fitted, device: torch.device) -> dict[str, Any]:
    """Return parameters, FLOPs of one image's forward pass, and what training took."""
    return {
        "parameters": sum(parameter.numel() for parameter in detector.network.parameters()),
        "flops_per_image": flops(detector.network, detector.preprocessing.input_size or (64, 64), device),
        "ms_per_step": round(1000 * fitted.seconds / max(fitted.steps, 1), 3),
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
        "precision": fitted.precision,
        "stopped_early": fitted.stopped_early,
    }


def flops(network: nn.Module, size: tuple[int, int], device: torch.device) -> int:
    """Count the floating-point operations of one forward pass on one image (2 for a multiply-add)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *size, device=device))
    return int(counter.get_total_flops())
