"""The section of the generators' fingerprints on the page of a detector."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from robustbench_aigen.data.image_data import ImageData
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError
from robustbench_aigen.explain import fingerprint_figures
from robustbench_aigen.explain.fingerprinting import Fingerprints, fingerprints, remaining
from robustbench_aigen.explain.page import PagePart
from robustbench_aigen.numerics.images_like import to_levels_list
from robustbench_aigen.stages.stage import Attack, Perturbation, Stage
from robustbench_aigen.views.figure import Figure
from robustbench_aigen.views.table import Column, Table, TableCell

_IMAGES, _PROCESSED, _ATTACKED = 2000, 400, 100
"""Largest numbers of images: of the fingerprints, and of those before and after processing and an attack."""
_PROCESSING = (
    ("JPEG 75", {"perturb": "jpeg", "quality": 75}),
    ("resized by 0.5 and back", {"perturb": "resize", "scale": 0.5}),
)
_ATTACK = {"attack": "pgd", "eps": "4/255", "steps": 5}

Process = Callable[[list[Tensor], list[Sample]], list[Tensor]]


def fingerprints_part(
    detector: Detector, data: ImageData | None, notices: list[str], progress: Progress
) -> PagePart | None:
    """Return the section, or None with a notice where the data have no generators to compare."""
    if data is None:
        notices.append("fingerprints of generators need data with labels")
        return None
    progress.start(min(len(data), _IMAGES))
    try:
        found = fingerprints(_part(data, _IMAGES), advance=progress.advance)
    except UserError as error:
        notices.append(f"no fingerprints: {error.message}")
        return None
    notices += [f"fingerprints: {text}" for text in found.left_out]
    part = PagePart(
        "Fingerprints of generators",
        figures=[
            Figure(
                "fingerprints",
                f"The middle {found.side}×{found.side} pixels. Above: the power spectrum of the noise residuals over that of the "
                "real images in decibels, frequency 0 in the middle (Corvi et al. 2023). Below: the mean residual.",
                fingerprint_figures.draw_spectra(found),
            ),
            Figure(
                "profiles",
                "Radial profile of the residuals' power over the mean of the real images, with 95 % bands by bootstrap over "
                "images.",
                fingerprint_figures.draw_profiles(found),
            ),
            Figure(
                "similarity",
                "Correlations. Left: of mean residuals, one half of the images against the other, so that the diagonal "
                "is how well a fingerprint repeats. Right: of the spectra in decibels over the real images, with average linkage.",
                fingerprint_figures.draw_similarity(found),
            ),
        ],
        tables=[_peaks_table(found)],
    )
    kept = _remaining_table(detector, data, found.side, notices)
    if kept is not None:
        part.tables.append(kept)
    return part


def _part(data: ImageData, limit: int) -> ImageData:
    return data.taking(None, limit) if len(data) > limit else data


def _peaks_table(found: Fingerprints) -> Table:
    columns = (
        Column("generator"), Column("images", 0), Column("down (cycles/pixel)", 3), Column("across (cycles/pixel)", 3),
        Column("over its ring (dB)", 1),
    )  # fmt: skip
    rows = []
    for name, each in found.each.items():
        first = [TableCell(name), TableCell(float(each.images))]
        peaks = found.peaks(name)
        rows += [(*first, *map(TableCell, peak)) for peak in peaks]
        if not peaks:
            rows.append((*first, *[TableCell(float("nan"))] * 3))
    caption = (
        "Significant peaks of the spectrum of the mean residual, at most three each: what repeats at one place in every "
        "image. Empty where no frequency is higher than noise is with 5 %. Real images may have some along the axes."
    )
    return Table("peaks", "Periodic traces", caption, columns, tuple(rows))


def _remaining_table(detector: Detector, data: ImageData, side: int, notices: list[str]) -> Table | None:
    rows = []
    processes: list[tuple[str, int, Process]] = [
        (name, _PROCESSED, partial(_perturbed, stage)) for name, stage in _PROCESSING
    ]
    if detector.differentiable:
        processes.append(("PGD 4/255, 5 steps", _ATTACKED, partial(_attacked, detector)))
    before: dict[int, Fingerprints] = {}
    for name, limit, process in processes:
        try:
            if limit not in before:
                before[limit] = fingerprints(_part(data, limit), side=side)
            after = fingerprints(_part(data, limit), side=side, process=process)
        except UserError as error:
            notices.append(f"fingerprints after {name}: {error.message}")
            continue
        rows += [
            (TableCell(generator), TableCell(name), TableCell(float(before[limit].each[generator].images)),
             TableCell(left.spectrum), TableCell(left.amplitude), TableCell(left.residual))
            for generator, left in remaining(before[limit], after).items()
        ]  # fmt: skip
    if not rows:
        return None
    columns = (
        Column("generator"), Column("after"), Column("images", 0), Column("spectrum: correlation", 2),
        Column("spectrum: amplitude", 2), Column("mean residual: correlation", 2),
    )  # fmt: skip
    caption = (
        "What processing of all images leaves of a fingerprint: the correlation of the spectrum in decibels over the real "
        "images before and after, the share of its decibels that is left, and the correlation of the mean residuals."
    )
    return Table("remaining", "Fingerprints after processing", caption, columns, tuple(rows))


def _perturbed(written: dict[str, object], levels: list[Tensor], samples: list[Sample]) -> list[Tensor]:
    stage = Stage.from_dict(written)
    assert isinstance(stage, Perturbation)
    return to_levels_list(stage(levels, ids=[sample.id for sample in samples]))


def _attacked(detector: Detector, levels: list[Tensor], samples: list[Sample]) -> list[Tensor]:
    stage = Stage.from_dict(_ATTACK)
    assert isinstance(stage, Attack)
    done = stage(
        detector, levels, [sample.label for sample in samples], ids=[sample.id for sample in samples]
    )
    return to_levels_list(done.images)
