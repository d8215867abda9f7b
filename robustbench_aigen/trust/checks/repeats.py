"""Checks on repeated calls with the same images."""

from typing import TYPE_CHECKING

from robustbench_aigen.text import counted
from robustbench_aigen.trust.check import check
from robustbench_aigen.trust.flags import Measurement

if TYPE_CHECKING:
    from torch import Tensor

    from robustbench_aigen.trust.repeatability import Repeated


@check(
    "stochastic_output",
    meaning=(
        "the detector answers the same image differently from call to call; gradients have to be averaged (eotpgd)"
    ),
    when="the margin of an image changes from call to call, beyond float noise",
    on="repeats",
    order=4,
)
def stochastic_output(answers: "Repeated") -> Measurement:
    """Judge whether the margin of an image changes from call to call."""
    return _judged(answers.moved_by_call, answers.by_call, "at a second call")


@check(
    "depends_on_batch",
    meaning=(
        "the answer for an image depends on the other images of its batch (training mode, statistics over the "
        "batch): the numbers are those of these batches"
    ),
    when="the margin of an image depends on the other images in its batch, beyond float noise",
    on="repeats",
    order=3,
)
def depends_on_batch(answers: "Repeated") -> Measurement:
    """Judge whether the margin of an image depends on the other images in its batch."""
    return _judged(answers.moved_by_batch, answers.by_batch, "in a batch than alone")


def _judged(moved: "Tensor", nats: "Tensor", when: str) -> Measurement:
    of = f"of {counted(len(moved), 'image')}"
    told = f"{counted(int(moved.sum()), f'{of} gets', f'{of} get')} another answer {when}"
    if moved.any():
        told += f": the margin moves by up to {float(nats.nan_to_num(float('inf')).max()):.2g} nats"
    return Measurement(bool(moved.any()), told)
