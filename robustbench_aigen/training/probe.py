"""Fitting of linear probes: logistic regression on frozen features, its penalty chosen on the validation images."""

import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from robustbench_aigen.detectors.probe import LinearProbe
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.training.batches import LabelledRows, stream
from robustbench_aigen.training.features import features_of
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.recipe import ProbeSettings, Settings


def fit_probe(
    settings: Settings,
    probe: ProbeSettings,
    train: LabelledRows,
    val: LabelledRows,
    cache: Path,
    *,
    name: str,
    device: torch.device,
    progress: Progress,
) -> Fitted:
    """Fit a linear probe for each value of C, and return the one with the best validation figure.

    Parameters
    ----------
    settings, probe
        Settings of the training and of the probe. With ``balance``, images count by the weights of a balanced epoch.
    train, val
        The images that the probe is fitted to, and those that choose C. They are not augmented.
    cache
        Folder of the features, for the next training on them.
    name
        Name for the progress.
    device
        The device that computes the features.
    progress
        Receives the progress of every batch and the chosen C.
    """
    began = time.perf_counter()
    with preserved_global_rng():
        torch.manual_seed(stream(settings.seed, "weights"))
        network = build_architecture(settings.arch, **settings.network_options).eval().to(device)
    fitted = cast(LinearProbe, network)
    features, held_out = (
        features_of(network, settings, images, cache, name=name, device=device, progress=progress)
        for images in (train, val)
    )
    importances, own = train.importances(settings.balance), val.importances(settings.balance)
    table, estimators = [], []
    progress.work_on(name, "logistic regression")
    for c in probe.c:
        estimators.append(fitted.fitted(features, train.labels, importances, c=c))
        log_odds = estimators[-1].decision_function(held_out)
        table.append({"c": c, **_figures(log_odds, val.labels, own)})
    values = [-row["val_loss"] if settings.select == "loss" else row["val_accuracy"] for row in table]
    best = int(np.argmax(values))
    fitted.take(estimators[best])
    row = table[best]
    progress.notice(
        f"{name}: c {row['c']:g}, validation {row['val_loss']:.4f}, {100 * row['val_accuracy']:.2f} %"
    )
    return Fitted(
        network.cpu(), fitted.architecture_options(), "fp32", time.perf_counter() - began,
        val_log_odds=estimators[best].decision_function(held_out).astype(np.float32),
        hyper_parameters={"c": row["c"]}, search=table,
    )  # fmt: skip


def _figures(
    log_odds: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> dict[str, float]:
    """Return weighted cross-entropy, and accuracy at a score of 0.5."""
    losses = np.logaddexp(0, (1 - 2 * labels) * log_odds)
    right = (log_odds >= 0) == (labels == 1)
    return {
        "val_loss": float(np.average(losses, weights=weights)),
        "val_accuracy": float(np.average(right, weights=weights)),
    }
