"""Output files of a training: weights, card, metrics, learning curves, ROC points, figures."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load as load_safetensors
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustbench_aigen.detectors.contract import FAKE, Detector
from robustbench_aigen.detectors.preprocessing import Preprocessing
from robustbench_aigen.detectors.thresholds import HALF, Threshold, fit_threshold
from robustbench_aigen.detectors.zoo import published_preprocessing
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.engine.provenance import hardware
from robustbench_aigen.runs.versions import git_revision, package_versions
from robustbench_aigen.training.drawing import draw_training
from robustbench_aigen.training.evaluation import (
    Scored,
    figures,
    of_generators,
    roc_points,
    score_images,
    tpr_by_generator,
)
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.recipe import Settings
from robustbench_aigen.training.saving import encode_weights, write_json, write_table, write_weights
from robustbench_aigen.training.splits import Splits

METRICS, HISTORY, ROC, SEARCH, FIGURES = (
    "metrics.json",
    "history.csv",
    "roc.csv",
    "grid_search.csv",
    "figures",
)
_FOREIGN = "test, all generators"


def write_outcome(
    name: str,
    recipe: str,
    settings: Settings,
    splits: Splits,
    fitted: Fitted,
    size: tuple[int, int],
    folder: Path,
    said: Mapping[str, Any],
    *,
    val_indices: Sequence[int],
    train_images: int,
    device: torch.device,
    half: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Evaluate the stored weights, fit the threshold on validation, and write every file.

    ``val_indices`` are the readable validation images, of which a probe's fit has the log-odds.
    ``metrics.json`` is the last: where it is, the training is finished. Its content is returned; ``said`` is part of
    it first.
    """
    content = encode_weights(fitted.network, half=half)
    preprocessing = Preprocessing(
        size, settings.mean, settings.std, resize_to=_resize_to(settings.arch, size)
    )
    detector = _deployed(fitted.network, content, preprocessing, name, settings.arch, device)
    if fitted.val_log_odds is None:
        val = score_images(detector, splits.source, splits.val, device, progress, "validation")
    else:
        val = Scored([splits.source.samples[index] for index in val_indices], fitted.val_log_odds)
    rule = settings.threshold
    threshold = fit_threshold(rule, val.log_odds, val.labels) if isinstance(rule, str) else Threshold.at(rule)
    parts = {"validation": val}
    if splits.test:
        test = score_images(detector, splits.source, splits.test, device, progress, "test")
        parts["test"] = of_generators(test, splits.generators)
        if len(parts["test"].samples) < len(test.samples):
            parts[_FOREIGN] = test
    found = {
        part: {"fitted": figures(scored, threshold), "at_half": figures(scored, HALF)}
        for part, scored in parts.items()
        if scored.samples
    }
    card = _card(name, recipe, settings, splits, fitted, preprocessing, train_images)
    card |= {
        "threshold": threshold.score,
        "threshold_log_odds": threshold.log_odds,
        "threshold_rule": rule,
        "clean_validation": _short(found["validation"]),
    }
    if "test" in found:
        everything = parts.get(_FOREIGN, parts["test"])
        own = ", ".join(splits.generators)
        card["clean_test"] = {
            **_short(found["test"]),
            "note": f"test split, fakes of {own} and the reals they belong to, at the fitted threshold",
            "tpr_by_generator": tpr_by_generator(everything, threshold),
        }
    digests = write_weights(folder / f"{name}.safetensors", content, card)
    roc = _roc_table(parts)
    write_table(folder / ROC, roc)
    if fitted.history:
        write_table(folder / HISTORY, pd.DataFrame(fitted.history))
    if fitted.search:
        write_table(folder / SEARCH, pd.DataFrame(fitted.search))
    draw_training(folder / FIGURES, name, fitted, found, roc)
    metrics = {
        **said,
        "weights_sha256": detector.weights_sha256,
        "settings": settings.identity(),
        "train_images": train_images,
        "generators": splits.generators,
        "epochs_run": len(fitted.history),
        "figures": found,
        "cost": _cost(detector, fitted, size, device),
        "packages": package_versions(),
        "git_revision": git_revision(),
        "hardware": hardware(device),
    }
    write_json(folder / METRICS, metrics, digests)
    return metrics


def _deployed(
    network: nn.Module,
    content: bytes,
    preprocessing: Preprocessing,
    name: str,
    architecture: str,
    device: torch.device,
) -> Detector:
    """Return the detector of stored weights."""
    stored = load_safetensors(content)
    network.load_state_dict({key: stored[key].to(value.dtype) for key, value in network.state_dict().items()})
    digest = sha256(content).hexdigest()
    detector = Detector.assembled(
        network, preprocessing, name=name, architecture=architecture, weights_sha256=digest
    )
    return detector.to(device)


def _short(found: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("accuracy", "balanced_accuracy", "tpr", "tnr", "auroc", "n")
    one_class = any(at["answers_one_class"] for at in found.values())
    at_half = found["at_half"]["accuracy"]
    return {key: found["fitted"][key] for key in keys} | {
        "accuracy_at_half": at_half,
        "answers_one_class": one_class,
    }


def _roc_table(parts: Mapping[str, Scored]) -> pd.DataFrame:
    tables = [pd.DataFrame(columns=["images", "fpr", "tpr", "threshold"])]
    for name, scored in parts.items():
        if len({*scored.labels.tolist()}) == 2:
            points = roc_points(scored)
            points.insert(0, "images", name)
            tables.append(points)
    return pd.concat(tables[1:] or tables)


def _card(
    name: str,
    recipe: str,
    settings: Settings,
    splits: Splits,
    fitted: Fitted,
    preprocessing: Preprocessing,
    train_images: int,
) -> dict[str, Any]:
    return {
        "id": name,
        "arch": settings.arch,
        "arch_options": fitted.arch_options,
        "input_size": preprocessing.input_size,
        **({} if preprocessing.resize_to is None else {"resize_to": preprocessing.resize_to}),
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "fake_index": FAKE,
        "data": splits.source.name,
        "generators": splits.generators,
        "train_images": train_images,
        "training": {"recipe": recipe, **_training(settings, fitted), "seconds": round(fitted.seconds, 1)},
    }


def _resize_to(arch: str, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the size that a training resizes images to, where the architecture's own weights get a crop instead."""
    return size if published_preprocessing(arch).get("crop") is not None else None


def _training(settings: Settings, fitted: Fitted) -> dict[str, Any]:
    if settings.svm is not None:
        return {"estimator": "support vector machine", "seed": settings.seed, **fitted.hyper_parameters}
    if settings.probe is not None:
        said = {"estimator": "logistic regression", "balance": settings.balance, "seed": settings.seed}
        return {**said, **fitted.hyper_parameters}
    best = fitted.history[fitted.best_epoch - 1]
    said = settings.model_dump(
        mode="json",
        exclude={"arch", "arch_options", "input_size", "mean", "std", "threshold", "svm", "probe"},
    )
    return {
        **said,
        "initial_weights": settings.arch_options.get("weights", "none"),
        "precision": fitted.precision,
        "epochs_run": len(fitted.history),
        "epoch_kept": fitted.best_epoch,
        "selection": f"validation {settings.select} ({best['val_' + settings.select]:.4f})",
    }


def _cost(detector: Detector, fitted: Fitted, size: tuple[int, int], device: torch.device) -> dict[str, Any]:
    """Return parameters, FLOPs of one image's forward pass (2 for a multiply-add), and the time of training."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.network(torch.zeros(1, 3, *size, device=device))
    return {
        "parameters": sum(parameter.numel() for parameter in detector.network.parameters()),
        "flops_per_image": int(counter.get_total_flops()),
        "ms_per_step": round(1000 * fitted.seconds / fitted.steps, 3) if fitted.steps else None,
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
        "precision": fitted.precision,
        "stopped_early": fitted.stopped_early,
    }
