"""Support vector machines: fitted by scikit-learn, then torch modules with gradients."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from robustbench_aigen.errors import UserError
from robustbench_aigen.text import counted


@runtime_checkable
class FittedNetwork(Protocol):
    """A network of the zoo that is fitted to features rather than trained by gradients.

    ``features`` maps normalised N×3×H×W images to N×F features; ``fit`` takes those, N labels and hyper-parameters,
    and fills the network in place; ``estimator`` is the scikit-learn estimator that it fits, for
    :func:`grid_search`. ``architecture_options`` are what ``build`` needs to hold the fitted weights: they belong
    into the card as ``arch_options``.
    """

    def features(self, images: Tensor) -> Tensor:
        """Return N×F features."""
        ...

    def estimator(self, **hyper_parameters: float) -> Any:
        """Return the estimator before it is fitted."""
        ...

    def fit(self, features: ArrayLike, labels: ArrayLike, **hyper_parameters: float) -> None:
        """Fit the decision function in place."""
        ...

    def architecture_options(self) -> dict[str, Any]:
        """Return the options of ``build``."""
        ...


class LinearDecision(nn.Module):
    """The decision function of a linear support vector machine: w·x + b.

    Parameters
    ----------
    features
        Length of x.
    """

    weight: Tensor
    intercept: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(features))
        self.register_buffer("intercept", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×F features to N×1 decision values, positive for *fake*."""
        # A sum of products, not a matrix product: those are in half precision under autocast.
        return (features.float() * self.weight).sum(dim=1, keepdim=True) + self.intercept

    def take(self, fitted: Any) -> None:
        """Copy the parameters of a fitted ``sklearn.svm.LinearSVC``."""
        self.weight = _like(self.weight, fitted.coef_[0])
        self.intercept = _like(self.intercept, fitted.intercept_)


class RBFDecision(nn.Module):
    """The decision function of a support vector machine with a Gaussian kernel: Σ aᵢ exp(−γ‖x − sᵢ‖²) + b.

    Parameters
    ----------
    features
        Length of x and of the support vectors sᵢ.
    support_vectors
        Number of support vectors.
    """

    vectors: Tensor
    coefficients: Tensor
    intercept: Tensor
    gamma: Tensor

    def __init__(self, features: int, support_vectors: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(support_vectors, features))
        self.register_buffer("coefficients", torch.zeros(support_vectors))
        self.register_buffer("intercept", torch.zeros(1))
        self.register_buffer("gamma", torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        """Map N×F features to N×1 decision values, positive for *fake*."""
        # Differences, not the expansion into products: those cancel, and are in half precision under autocast.
        distance = torch.cdist(features.float(), self.vectors, compute_mode="donot_use_mm_for_euclid_dist")
        kernel = torch.exp(-self.gamma * distance**2)
        return (kernel * self.coefficients).sum(dim=1, keepdim=True) + self.intercept

    def take(self, fitted: Any) -> None:
        """Copy the parameters of a fitted ``sklearn.svm.SVC`` with kernel ``rbf`` and any number of support vectors."""
        self.vectors = _like(self.vectors, fitted.support_vectors_)
        self.coefficients = _like(self.coefficients, fitted.dual_coef_[0])
        self.intercept = _like(self.intercept, fitted.intercept_)
        # scikit-learn turns "scale" and "auto" into a number when it fits.
        self.gamma = _like(self.gamma, [fitted._gamma])  # noqa: SLF001


def _like(buffer: Tensor, values: ArrayLike) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).to(buffer.device)


def fit_estimator(estimator: Any, features: ArrayLike, labels: ArrayLike) -> Any:
    """Fit a two-class estimator whose decision value is positive for *fake*.

    Raises
    ------
    UserError
        If the labels are of one class, or the features are not finite.
    """
    x, y = checked(features, labels)
    return estimator.fit(x, y)


def checked(features: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return features and labels as arrays that an estimator can be fitted to, or raise UserError."""
    x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if x.ndim != 2 or len(x) != len(y):
        raise UserError(f"features are {x.shape}, labels {y.shape}; one row of features per label is needed")
    if set(np.unique(y)) != {0, 1}:
        raise UserError("a support vector machine needs images of both classes to be fitted to")
    if not np.isfinite(x).all():
        raise UserError("a support vector machine cannot be fitted to features that are not finite")
    return x, y


class SvmSearch(NamedTuple):
    """Result of a grid search.

    ``best`` are the hyper-parameters with the highest mean accuracy, ``table`` has a row for every combination:
    its hyper-parameters, ``accuracy`` (mean over the folds, a fraction) and ``spread`` (standard deviation).
    """

    best: dict[str, float]
    table: list[dict[str, float]]


def grid_search(
    network: FittedNetwork,
    features: ArrayLike,
    labels: ArrayLike,
    grid: Mapping[str, Sequence[float]],
    *,
    folds: int = 5,
    groups: ArrayLike | None = None,
    seed: int = 42,
) -> SvmSearch:
    """Compare hyper-parameters by stratified k-fold cross-validation.

    Parameters
    ----------
    network
        The network whose estimator is fitted; it is not changed.
    features, labels
        N×F features and N labels.
    grid
        The values of each hyper-parameter, every combination of which is tried.
    folds
        Number of folds.
    groups
        N group labels, of near-duplicates for example: a group is in one fold.
    seed
        Seed of the folds.

    Raises
    ------
    UserError
        If a class has fewer images than there are folds.
    """
    from sklearn.model_selection import ParameterGrid, StratifiedGroupKFold, cross_val_score

    x, y = checked(features, labels)
    rarest = int(np.bincount(y).min())
    if not 2 <= folds <= rarest:
        raise UserError(f"{folds} folds cannot be made of {counted(rarest, 'image')} of the rarer class")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    grouped = np.arange(len(y)) if groups is None else np.asarray(groups)
    table = []
    for combination in ParameterGrid({name: list(values) for name, values in grid.items()}):
        estimator = network.estimator(**combination)
        accuracy = cross_val_score(estimator, x, y, groups=grouped, cv=splitter)
        table.append({**combination, "accuracy": float(accuracy.mean()), "spread": float(accuracy.std())})
    winner = max(table, key=lambda row: row["accuracy"])
    return SvmSearch({name: cast(float, winner[name]) for name in grid}, table)
