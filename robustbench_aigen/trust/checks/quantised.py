"""The check on quantised models: whether the twin that gives the gradients judges as the model does."""

from typing import TYPE_CHECKING

from robustbench_aigen.trust.check import DetectorCheck, check
from robustbench_aigen.trust.flags import Measurement

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robustbench_aigen.trust.probe_images import ProbeImages

_STEP = 4
"""Levels of the step along the twin's gradient that makes attacked images of clean ones."""
_SHARE = 0.05


@check(
    "twin_differs",
    meaning=(
        "the differentiable twin of the quantised model judges otherwise than the model: attacks through its gradients "
        "may be too weak"
    ),
    when=(
        "twin and quantised model differ in the verdict on at least 5 % of the probe images, clean or after a step of "
        "4/255 along the gradient"
    ),
    on="detector",
    order=11.5,
)
class TwinDiffers(DetectorCheck):
    """The margins of twin and model on clean images, and on images after a step along the gradient."""

    def applies(self, detector: "nn.Module") -> bool:
        """Whether the detector has a quantised model with a twin."""
        from robustbench_aigen.detectors.formats.onnx_quantised import has_twin  # It imports torch.

        return has_twin(detector)

    def probe(self, images: "ProbeImages") -> "Tensor":
        """Return N numbers: the larger difference of the margins in nats, below zero where a verdict differs."""
        import torch

        from robustbench_aigen.detectors.formats.onnx_quantised import twins_answer
        from robustbench_aigen.numerics.eight_bit import LEVELS

        gradients = images.input_gradients.gradients.nan_to_num()
        attacked = (images.levels - _STEP * gradients.sign()).clamp(0, LEVELS).byte()
        differences, same = [], []
        for levels in (images.levels, attacked):
            model = images.margins(levels)
            with twins_answer():
                twin = images.margins(levels)
            differences.append((model - twin).abs())
            # A tie is a verdict of fake.
            same.append(_is_right(model, images.labels) == _is_right(twin, images.labels))
        larger = torch.maximum(*differences).clamp(min=torch.finfo(torch.float32).tiny)
        return torch.where(same[0] & same[1], larger, -larger)

    def judge(self, answers: "Tensor") -> Measurement:
        """Judge the share of images with another verdict."""
        other = float((answers < 0).double().mean())
        median = float(answers.abs().median())
        return Measurement(
            other >= _SHARE,
            f"twin and quantised model agree on {100 * (1 - other):.0f} % of {len(answers)} probe images, clean and after "
            f"a step of {_STEP}/255; the margins differ by {median:.2g} nats in the median",
        )


def _is_right(margins: "Tensor", labels: "Tensor") -> "Tensor":
    return (margins > 0) | ((margins == 0) & (labels == 1))
