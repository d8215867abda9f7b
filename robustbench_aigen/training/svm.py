"""Fitting of the zoo's support vector machines to features of the training images."""

import time
from pathlib import Path
from typing import cast

import torch

from robustbench_aigen.detectors.svm import FittedNetwork, grid_search
from robustbench_aigen.detectors.zoo import build_architecture
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.numerics.seeding import preserved_global_rng
from robustbench_aigen.training.batches import LabelledRows, stream
from robustbench_aigen.training.features import features_of
from robustbench_aigen.training.fitted import Fitted
from robustbench_aigen.training.recipe import Settings, SvmSettings


def fit_svm(
    settings: Settings,
    svm: SvmSettings,
    train: LabelledRows,
    cache: Path,
    *,
    name: str,
    device: torch.device,
    progress: Progress,
) -> Fitted:
    """Fit a support vector machine, after a grid search if the recipe has several combinations.

    Parameters
    ----------
    settings, svm
        Settings of the training and of the support vector machine.
    train
        The training images. They are not augmented; validation images are used only for the threshold.
    cache
        Folder of the features, for the next training on them.
    name
        Name for the progress.
    device
        The device that computes the features.
    progress
        Receives the progress of every batch and the result of the search.
    """
    began = time.perf_counter()
    with preserved_global_rng():
        torch.manual_seed(stream(settings.seed, "weights"))
        network = build_architecture(settings.arch, **settings.network_options).eval().to(device)
    fitted = cast(FittedNetwork, network)
    features = features_of(network, settings, train, cache, name=name, device=device, progress=progress)
    chosen, table = {key: values[0] for key, values in svm.grid.items()}, []
    if any(len(values) > 1 for values in svm.grid.values()):
        progress.work_on(name, f"grid search, {svm.folds} folds")
        search = grid_search(fitted, features, train.labels, svm.grid, folds=svm.folds, seed=settings.seed)
        chosen, table = search.best, search.table
        said = ", ".join(f"{key} {value:g}" for key, value in chosen.items())
        best = max(row["accuracy"] for row in table)
        progress.notice(f"{name}: {said}, {100 * best:.2f} % in {svm.folds}-fold cross-validation")
    fitted.fit(features, train.labels, **chosen)
    seconds = time.perf_counter() - began
    return Fitted(
        network.cpu(), fitted.architecture_options(), "fp32", seconds,
        hyper_parameters=chosen, search=table,
    )  # fmt: skip
