"""The files that perturbations deliver: the bytes of the codec that is the last operation, and EXIF after it."""

from collections.abc import Callable, Sequence

from torch import Tensor

from robustbench_aigen.imports import import_function
from robustbench_aigen.numerics.seeding import SampleStreams
from robustbench_aigen.perturbations import codecs
from robustbench_aigen.perturbations.application import apply_operation
from robustbench_aigen.perturbations.metadata import exif_of
from robustbench_aigen.stages.stage import Perturbation, Stage

_FORMATS = {codecs.jpeg: "JPEG", codecs.webp: "WEBP", codecs.avif: "AVIF"}


def exif_of_stages(stages: Sequence[Stage]) -> Callable[[Tensor], bytes] | None:
    """Return the function from 3×H×W uint8 to the EXIF of the file that stages deliver; None if they write none."""
    last = stages[-1] if stages else None
    return exif_of(last.operations[-1]) if isinstance(last, Perturbation) else None


def codec_position(stages: Sequence[Stage]) -> int:
    """Return the position of the stage that decides the format of the delivered file: the last, or the one before EXIF."""
    position = len(stages) - 1
    is_exif = _operations_on_pixels(stages[position]) == 0
    return (
        position - 1
        if is_exif and position > 0 and isinstance(stages[position - 1], Perturbation)
        else position
    )


def _operations_on_pixels(stage: Stage) -> int:
    return (
        sum(each.recipe.exif is None for each in stage.operations) if isinstance(stage, Perturbation) else 1
    )


def encoded_files(
    stage: Perturbation, levels: Tensor, streams: SampleStreams, exif: Sequence[bytes] | None = None
) -> list[bytes] | None:
    """Return the encoded images that a perturbation makes; None where its last operation is no codec or has a mask.

    Parameters
    ----------
    stage, levels, streams
        As for :func:`robustbench_aigen.perturbations.application.perturb`, whose result is what these files decode to.
    exif
        The EXIF of each image; operations that write EXIF are no last operations.
    """
    operations = [operation for operation in stage.operations if operation.recipe.exif is None]
    if not operations or stage.mask is not None:
        return None
    *before, last = operations
    format_ = _FORMATS.get(import_function(last.recipe.implementation))
    if format_ is None:
        return None
    for step, operation in enumerate(before):
        levels = apply_operation(operation, levels, streams.for_step(step))
    options = last.recipe.arguments(last.params)
    repeats = int(options.pop("repeats", 1) or 1)
    if repeats > 1:
        levels = codecs.jpeg(levels, **options, repeats=repeats - 1)  # type: ignore[arg-type]
    return codecs.encoded(levels, format_, exif, **options)
