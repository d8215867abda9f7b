"""The files that a perturbation delivers: the bytes of the codec that is its last operation."""

from torch import Tensor

from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations import codecs
from robustbench_aigen.perturbations.application import apply_operation
from robustbench_aigen.stages.stage import Perturbation

_FORMATS = {codecs.jpeg: "JPEG", codecs.webp: "WEBP", codecs.avif: "AVIF"}


def encoded_files(stage: Perturbation, levels: Tensor, streams: SampleStreams) -> list[bytes] | None:
    """Return the encoded images that a perturbation makes; None where its last operation is no codec or has a mask.

    Parameters
    ----------
    stage, levels, streams
        As for :func:`robustbench_aigen.perturbations.application.perturb`, whose result is what these files decode to.
    """
    *before, last = stage.operations
    format_ = _FORMATS.get(import_function(last.recipe.implementation))
    if format_ is None or stage.mask is not None:
        return None
    for step, operation in enumerate(before):
        levels = apply_operation(operation, levels, streams.for_step(step))
    options = last.recipe.arguments(last.params)
    repeats = int(options.pop("repeats", 1) or 1)
    if repeats > 1:
        levels = codecs.jpeg(levels, **options, repeats=repeats - 1)  # type: ignore[arg-type]
    return codecs.encoded(levels, format_, **options)
