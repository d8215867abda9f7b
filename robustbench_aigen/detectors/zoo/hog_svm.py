"""HOG and a linear support vector machine (study E), at 128×128."""

from typing import Any

from numpy.typing import ArrayLike
from torch import Tensor, nn

from robustbench_aigen.detectors.heads import TwoLogits
from robustbench_aigen.detectors.hog import hog
from robustbench_aigen.detectors.normalisation import PIXELS
from robustbench_aigen.detectors.svm import LinearDecision, fit_estimator

INPUT_SIZE = (128, 128)
NORMALISATION = PIXELS


class HogSVM(nn.Module):
    """Grey, histograms of oriented gradients, a linear decision function.

    Yu, Tanuwijaya, Liu & Liu (CUHK-Shenzhen DDA4210, 2024), study E: 128×128 grey. Cells, blocks and C are not
    said; scikit-image's and scikit-learn's defaults are taken. Verdicts rest on the real HOG; its gradient is that
    of shared votes (:func:`robustbench_aigen.detectors.hog.hog`). The decision value is the logit of *fake*.

    Parameters
    ----------
    orientations, cell, block
        Bins of half a turn, side of a cell in pixels, side of a block in cells.
    input_size
        Side of the square input in pixels.
    """

    def __init__(self, orientations: int = 9, cell: int = 8, block: int = 3, input_size: int = 128) -> None:
        super().__init__()
        blocks = input_size // cell - block + 1
        if min(orientations, cell, block) < 1 or blocks < 1:
            raise ValueError(f"{input_size} pixels hold no block of {block}×{block} cells of {cell} pixels")
        self.options = {
            "orientations": orientations, "cell": cell, "block": block, "input_size": input_size,
        }  # fmt: skip
        self.decision = LinearDecision(blocks**2 * block**2 * orientations)
        self.two_logits = TwoLogits()

    def features(self, images: Tensor) -> Tensor:
        """Map N×3×input_size×input_size pixels in [0, 1] to N×F descriptors."""
        options = self.options
        return hog(images, orientations=options["orientations"], cell=options["cell"], block=options["block"])

    def forward(self, images: Tensor) -> Tensor:
        """Map N×3×input_size×input_size pixels in [0, 1] to N×2 logits."""
        logits: Tensor = self.two_logits(self.decision(self.features(images)))
        return logits

    def estimator(self, c: float = 1.0) -> Any:
        """Return scikit-learn's LinearSVC with regularisation ``c``."""
        from sklearn.svm import LinearSVC

        return LinearSVC(C=c, random_state=0, max_iter=10_000)

    def fit(self, features: ArrayLike, labels: ArrayLike, **hyper_parameters: float) -> None:
        """Fit the decision function to N×F descriptors and N labels."""
        self.decision.take(fit_estimator(self.estimator(**hyper_parameters), features, labels))

    def architecture_options(self) -> dict[str, Any]:
        """Return the options of ``build`` that make this network."""
        return dict(self.options)


def build(orientations: int = 9, cell: int = 8, block: int = 3, input_size: int = 128) -> HogSVM:
    """Build the detector, not yet fitted: it answers 0 to everything."""
    return HogSVM(orientations, cell, block, input_size)
