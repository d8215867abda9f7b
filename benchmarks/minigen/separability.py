"""How far a logistic regression on channel moments and radial spectrum tells fakes from photographs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.minigen.statistics import log_spectrum, luminance, moments
from benchmarks.minigen.training import to_signed

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
FOLDS = 5


class Separability(NamedTuple):
    """Cross-validated accuracy (chance 0.5), its inverse penalty, and images per class."""

    accuracy: float
    c: float
    per_class: int


def luminance_features(images: np.ndarray) -> np.ndarray:
    """Channel moments and the luminance's log spectrum, uint8 N×32×32×3 → N×29."""
    signed = to_signed(images)
    return torch.cat([moments(signed), log_spectrum(luminance(signed))], dim=1).numpy()


def channel_features(images: np.ndarray) -> np.ndarray:
    """Channel moments and each channel's log spectrum, uint8 N×32×32×3 → N×63."""
    signed = to_signed(images)
    spectra = [log_spectrum(signed[:, channel]) for channel in range(3)]
    return torch.cat([moments(signed), *spectra], dim=1).numpy()


def separability(reals: np.ndarray, fakes: np.ndarray, seed: int = 0) -> Separability:
    """Best 5-fold accuracy over the penalties; both inputs are features, equally many rows each."""
    count = min(len(reals), len(fakes))
    rng = np.random.default_rng(seed)
    parts = [part[rng.permutation(len(part))[:count]] for part in (reals, fakes)]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        {"logisticregression__C": list(PENALTIES)},
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed),
    )
    search.fit(np.concatenate(parts), np.repeat([0, 1], count))
    return Separability(float(search.best_score_), float(search.best_params_["logisticregression__C"]), count)
