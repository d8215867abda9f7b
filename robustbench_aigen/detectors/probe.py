"""Linear probes: a logistic regression by scikit-learn on frozen features, then one dense layer of torch."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.svm import checked


class LinearProbe(nn.Module):
    """A frozen backbone and one dense unit, whose output is the logit of *fake* (Ojha et al. 2023, arXiv:2302.10174).

    Parameters
    ----------
    backbone
        Maps normalised N×3×H×W images to N×F features.
    features
        F.
    options
        Options of ``build`` that make this network.
    """

    def __init__(self, backbone: nn.Module, features: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.backbone = backbone
        self.decision = nn.Linear(features, 1)
        nn.init.zeros_(self.decision.weight)
        nn.init.zeros_(self.decision.bias)
        self.two_logits = TwoLogits()
        self.options = options

    def features(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×F features."""
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.two_logits(self.decision(self.features(images)))
        return logits

    def estimator(self, c: float = 1.0) -> Any:
        """Return scikit-learn's logistic regression on standardised features; ``c`` is the inverse L2 penalty."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=10_000))

    def fitted(
        self, features: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None, *, c: float = 1.0
    ) -> Any:
        """Return the estimator, fitted to N×F features, N labels and N weights (1 by default).

        Raises
        ------
        UserError
            If the labels are of one class, or the features are not finite.
        """
        x, y = checked(features, labels)
        importance = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
        return self.estimator(c).fit(x, y, logisticregression__sample_weight=importance)

    def fit(
        self, features: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None, *, c: float = 1.0
    ) -> None:
        """Fit the dense unit; as :meth:`fitted`."""
        self.take(self.fitted(features, labels, weights, c=c))

    def take(self, fitted: Any) -> None:
        """Copy a fitted estimator; its standardisation becomes part of weights and bias."""
        scaler, regression = fitted[0], fitted[-1]
        weight = regression.coef_[0] / scaler.scale_
        bias = regression.intercept_ - weight @ scaler.mean_
        with torch.no_grad():
            self.decision.weight.copy_(torch.from_numpy(weight)[None])
            self.decision.bias.copy_(torch.from_numpy(bias))

    def architecture_options(self) -> dict[str, Any]:
        """Return the options of ``build`` that make this network."""
        return dict(self.options)
