"""ResNet-18's features and a support vector machine with a Gaussian kernel (study C), at 224×224."""

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, resnet18

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.normalisation import IMAGENET
from robustbench_aigen.detectors.pretrained import initialise, torchvision_weights
from robustbench_aigen.detectors.svm import RBFDecision, fit_estimator

INPUT_SIZE = (224, 224)
NORMALISATION = IMAGENET


class ResNet18SVM(nn.Module):
    """The 512 pooled features of ResNet-18, frozen, and a Gaussian-kernel decision function.

    Sidiropoulos, "AI Generated vs Real Images Classification", study C: C = 1.7, γ = 1/512, features without scaling.
    The decision value is the logit of *fake*.

    Parameters
    ----------
    support_vectors
        Number of support vectors of the decision function; a fit changes it.
    weights
        Weights of the backbone: ``imagenet``, ``none`` or a file.
    """

    def __init__(self, support_vectors: int = 1, weights: str = "none") -> None:
        super().__init__()
        if support_vectors < 1:
            raise ValueError(f"support_vectors must be at least 1, not {support_vectors}")
        self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()
        initialise(self.backbone, weights, torchvision_weights(ResNet18_Weights.IMAGENET1K_V1), head="fc.")
        self.backbone.requires_grad_(False)
        self.decision = RBFDecision(512, support_vectors)
        self.two_logits = TwoLogits()

    def features(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×512 features."""
        features: Tensor = self.backbone(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised N×3×H×W images to N×2 logits."""
        logits: Tensor = self.two_logits(self.decision(self.features(images)))
        return logits

    def estimator(self, c: float = 1.7, gamma: float = 1 / 512) -> Any:
        """Return scikit-learn's SVC with regularisation ``c`` and kernel width ``gamma``."""
        from sklearn.svm import SVC

        return SVC(C=c, kernel="rbf", gamma=gamma)

    def fit(self, features: ArrayLike, labels: ArrayLike, **hyper_parameters: float) -> None:
        """Fit the decision function to N×512 features and N labels."""
        self.decision.take(fit_estimator(self.estimator(**hyper_parameters), features, labels))

    def architecture_options(self) -> dict[str, Any]:
        """Return the options of ``build`` that hold the fitted weights."""
        return {"support_vectors": len(self.decision.vectors)}


def build(support_vectors: int = 1, weights: str = "none") -> ResNet18SVM:
    """Build the detector, not yet fitted: it answers 0 to everything."""
    return ResNet18SVM(support_vectors, weights)
