"""The page of one detector: its maps and their checks, gradients, filters, activations and hardest mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from robustbench_aigen.data.image_data import ImageData
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.detectors.contract import Detector, probabilities
from robustbench_aigen.engine.progress import Progress
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.explain import figures
from robustbench_aigen.explain.class_activation import CLASSES
from robustbench_aigen.explain.fingerprint_page import fingerprints_part
from robustbench_aigen.explain.gradient_maps import affordable_steps
from robustbench_aigen.explain.input_gradient import gradient_distribution
from robustbench_aigen.explain.mapping import METHODS, Maps, Towards, applicable, maps
from robustbench_aigen.explain.mistakes import Mistake, readable, worst_mistakes
from robustbench_aigen.explain.page import Page, PagePart
from robustbench_aigen.explain.sanity_checks import MEANINGS, UNTRAINED, Sanity, sanity
from robustbench_aigen.explain.weights import activations, filters
from robustbench_aigen.text import counted
from robustbench_aigen.views.figure import Figure
from robustbench_aigen.views.table import Column, Table, TableCell

PARTS = ("maps", "gradients", "filters", "activations", "hardest", "fingerprints")
USUAL = ("grad_cam", "integrated_gradients", "smoothgrad", "occlusion")
"""The methods of a page by default."""
WITHOUT_GRADIENTS = ("occlusion", "lime")
_CHECKED = 16
"""Labelled images on which the maps are checked and gradients are counted."""
_SHOWN_IMAGES = 3
"""Images whose activation maps are drawn."""


@dataclass(frozen=True)
class Pictures:
    """The images of a page: of data with labels, or single pictures without.

    Parameters
    ----------
    names
        Names of the images.
    levels
        N uint8 images 3×H×W.
    samples
        N samples with labels; None for single pictures.
    data
        The data that they are of.
    unreadable
        Names of images that cannot be read.
    """

    names: list[str]
    levels: list[Tensor]
    samples: list[Sample] | None = None
    data: ImageData | None = None
    unreadable: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: ImageData, count: int) -> "Pictures":
        """Return a stratified part of some data, real images first."""
        rows = data.taking(None, count).selection.indices if count < len(data) else data.selection.indices
        samples, levels, failed = readable(data, rows)
        order = sorted(range(len(samples)), key=lambda place: samples[place].label)
        chosen = [samples[place] for place in order]
        return cls(
            [each.id for each in chosen], [levels[place] for place in order], chosen, data, tuple(failed)
        )

    @property
    def labels(self) -> list[int] | None:
        """The labels, if known."""
        return None if self.samples is None else [sample.label for sample in self.samples]

    def few(self, count: int) -> list[int]:
        """Return the places of at most ``count`` images, of both classes in turns."""
        labels = self.labels
        if labels is None:
            return list(range(min(count, len(self.names))))
        turns = [[place for place, label in enumerate(labels) if label == wanted] for wanted in (0, 1)]
        mixed = [place for pair in zip(*turns, strict=False) for place in pair]
        mixed += [place for each in turns for place in each if place not in mixed]
        return sorted(mixed[:count])


@dataclass(frozen=True)
class PageSettings:
    """What is drawn on the page of a detector.

    Parameters
    ----------
    parts
        Of :data:`PARTS`.
    methods
        Of :data:`~robustbench_aigen.explain.mapping.METHODS`; empty for the usual ones that the detector allows.
    layer
        The target layer of Grad-CAM.
    towards
        The explained class.
    images
        Images whose maps are drawn.
    seed
        Of all random draws.
    pictures
        Whether the images themselves are drawn; without, a page may be shared although its images may not.
    options
        Options of the methods, by method.
    """

    parts: Sequence[str] = PARTS
    methods: Sequence[str] = ()
    layer: str | None = None
    towards: Towards = "verdict"
    images: int = 8
    seed: int = 42
    pictures: bool = True
    options: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check(self) -> None:
        """Raise UserError for unknown parts and methods."""
        for kind, given, known in (("part", self.parts, PARTS), ("method", self.methods, METHODS)):
            for name in given:
                if name not in known:
                    raise UserError(f"unknown {kind} '{name}'", hint=did_you_mean(name, known))

    def of_method(self, name: str, detector: Detector) -> dict[str, Any]:
        """Return the options of a method."""
        layer = {} if self.layer is None or name not in CLASSES else {"layer": self.layer}
        # Every doubling costs as much as all before it.
        steps = {"most_steps": affordable_steps(detector)} if name == "integrated_gradients" else {}
        return {**steps, **self.options.get(name, {}), **layer}


def detector_page(
    detector: Detector, pictures: Pictures, settings: PageSettings, command: str, progress: Progress
) -> Page:
    """Return the page of a detector.

    Raises
    ------
    UserError
        If there is no image, or a method that was named cannot be computed.
    """
    settings.check()
    if not pictures.levels:
        raise UserError("no picture can be read", hint="name other pictures or data")
    notices = [f"{name} cannot be read and was left out" for name in pictures.unreadable]
    methods = _methods(detector, pictures, settings, notices)
    makers: dict[str, Callable[[], PagePart | None]] = {
        "maps": lambda: maps_part(detector, pictures, methods, settings, notices, progress),
        "gradients": lambda: _gradients(detector, pictures, notices),
        "filters": lambda: _filters(detector, notices),
        "activations": lambda: _activations(detector, pictures, settings, notices),
        "hardest": lambda: _hardest(detector, pictures, settings, notices, progress),
        "fingerprints": lambda: fingerprints_part(detector, pictures.data, notices, progress),
    }
    parts = []
    for name in settings.parts:
        progress.work_on(detector.name, name)
        made = makers[name]()
        if made is not None:
            parts.append(made)
    source = "single pictures" if pictures.data is None else f"{pictures.data.name} ({pictures.data.split})"
    lines = [
        ("Detector", f"{detector.name}, {detector.architecture}"),
        ("Images", source),
        ("Threshold", f"{detector.threshold.score:g}"),
        ("Weights", detector.weights_sha256),
        ("Seed", str(settings.seed)),
    ]
    return Page(f"Explanation of {detector.name}", lines, parts, notices, command)


def _methods(detector: Detector, pictures: Pictures, settings: PageSettings, notices: list[str]) -> list[str]:
    """Return the methods of the page; of the usual ones, those that work."""
    if settings.methods:
        return list(settings.methods)
    if not detector.differentiable:
        notices.append(
            f"{detector.name} has no gradients: maps by occlusion and LIME, no input gradients, no activations"
        )
        return list(WITHOUT_GRADIENTS)
    chosen = applicable(detector, USUAL)
    if settings.layer is None:
        try:
            maps(detector, pictures.levels[:1], "grad_cam")
        except UserError as error:
            if "cannot be imported" in error.message:
                raise
            notices.append(f"without Grad-CAM: {error.message}")
            chosen.remove("grad_cam")
    return chosen


def maps_part(
    detector: Detector,
    pictures: Pictures,
    methods: Sequence[str],
    settings: PageSettings,
    notices: list[str],
    progress: Progress,
) -> PagePart:
    """Return the section of the maps and their checks."""
    progress.start(len(methods) * len(pictures.levels))
    found, checks = [], list[Sanity]()
    flag: dict[str, str] = {}
    for name in methods:
        progress.work_on(detector.name, METHODS[name].title)
        options = settings.of_method(name, detector)
        own = maps(detector, pictures.levels, name, towards=settings.towards, seed=settings.seed, **options)
        # Whether the detector was trained does not depend on the method.
        labels = pictures.labels if not checks else None
        check = sanity(
            detector,
            pictures.levels,
            labels,
            name,
            towards=settings.towards,
            seed=settings.seed,
            given=own,
            **options,
        )
        if not checks:
            flag = {UNTRAINED: check.flags[UNTRAINED]} if UNTRAINED in check.flags else {}
        else:
            open_ = tuple(each for each in check.unchecked if not each.startswith(UNTRAINED))
            missing = tuple(each for each in checks[0].unchecked if each.startswith(UNTRAINED))
            check = replace(check, flags={**check.flags, **flag}, unchecked=(*open_, *missing))
        found.append(own)
        checks.append(check)
        progress.advance(len(pictures.levels))
    few = pictures.few(settings.images)
    drawn = figures.draw_maps(
        [pictures.levels[row] for row in few], [_title(pictures, found[0], row) for row in few],
        [_some(each, few) for each in found], [each.trust for each in checks], pictures=settings.pictures,
    )  # fmt: skip
    part = PagePart(
        "Maps",
        figures=[
            Figure("maps", _maps_caption(settings), drawn),
            Figure("sanity", _sanity_caption(len(pictures.levels)), figures.draw_sanity(checks)),
        ],
        tables=[_sanity_table(checks, found)],
    )
    for check in checks:
        part.texts += [f"{check.method}: {name}: {evidence}." for name, evidence in check.flags.items()]
        part.texts += [f"{check.method}, not checked: {reason}." for reason in check.unchecked]
    for each in found:
        notices += [
            f"{each.method}: {counted(each.problems.count(text), 'map')} without content: {text}"
            for text in sorted({problem for problem in each.problems if problem})
        ]
    return part


def _some(found: Maps, rows: Sequence[int]) -> Maps:
    return Maps(
        found.method, [found.values[row] for row in rows], found.towards[list(rows)], found.log_odds[list(rows)],
        [found.problems[row] for row in rows], [found.notes[row] for row in rows],
    )  # fmt: skip


def _title(pictures: Pictures, found: Maps, row: int) -> str:
    score = float(probabilities(_tensor(found.log_odds[row : row + 1]))[0])
    if pictures.samples is None:
        return f"{pictures.names[row].rpartition('/')[2]}, score {score:.2f}"
    sample = pictures.samples[row]
    kind = "real" if sample.label == 0 else f"AI: {sample.generator}"
    return f"{kind}, score {score:.2f}"


def _tensor(values: Any) -> Tensor:
    import torch

    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _maps_caption(settings: PageSettings) -> str:
    return (
        "Maps of the pixels that the log-odds rest on. Of occlusion, integrated gradients and LIME, orange is evidence "
        "for the class under the first map and violet is evidence against it; every map has its own scale. "
        + ("" if settings.pictures else "The images are left out. ")
        + "Scores are probabilities of fake."
    )


def _sanity_caption(images: int) -> str:
    return (
        f"Deletion and insertion (Petsiuk et al. 2018), means over {counted(images, 'image')}: the pixels are blurred, or "
        "shown in a blurred image, in the order of the map. A right map falls faster and rises faster than the same "
        "map shifted."
    )


def _sanity_table(checks: Sequence[Sanity], found: Sequence[Maps]) -> Table:
    columns = (
        Column("method"), Column("trust"), Column("similarity to random weights", 2), Column("gain over shifted (nats)", 2),
        Column("maps", 0), Column("without content", 0),
    )  # fmt: skip
    rows = tuple(
        (
            TableCell(each.method),
            TableCell(each.trust),
            TableCell(float(each.similarity.mean()) if len(each.similarity) else float("nan")),
            TableCell(float(each.gains.mean()) if len(each.gains) else float("nan")),
            TableCell(float(len(own))),
            TableCell(float(sum(map(bool, own.problems)))),
        )
        for each, own in zip(checks, found, strict=True)
    )
    raised = dict.fromkeys(name for each in checks for name in each.flags)
    return Table(
        "sanity",
        "Checks of the maps",
        "Checks of the maps (Adebayo et al. 2018). Similarity: rank correlation of the absolute maps with those of the "
        "same network with random weights.",
        columns,
        rows,
        tuple(f"{name}: {MEANINGS[name]}" for name in raised),
    )


def _gradients(detector: Detector, pictures: Pictures, notices: list[str]) -> PagePart | None:
    if not detector.differentiable:
        return None
    if pictures.labels is None:
        notices.append("the distribution of gradients per class needs data with labels")
        return None
    try:
        found = gradient_distribution(detector, pictures.levels, pictures.labels)
    except UserError as error:
        notices.append(error.message)
        return None
    notices += [
        f"{counted(each.left_out, f'{each.name} image')} without a gradient: NaN, or 0 everywhere"
        for each in found
        if each.left_out
    ]
    columns = (
        Column("class"),
        Column("images", 0),
        *(Column(f"{share} %", 2) for share in (5, 25, 50, 75, 95)),
    )
    rows = tuple(
        (TableCell(each.name), TableCell(float(each.images)), *map(TableCell, each.quantiles))
        for each in found
    )
    caption = "Quantiles of the absolute gradient of the log-odds, in nats per pixel range."
    return PagePart(
        "Input gradients",
        figures=[
            Figure(
                "gradients",
                "Distribution of the absolute gradient of the log-odds to the pixels, by class (study E), and the mean "
                "of it by relative position in the image.",
                figures.draw_gradients(found),
            )
        ],
        tables=[Table("gradients", "Input gradients", caption, columns, rows)],
    )


def _filters(detector: Detector, notices: list[str]) -> PagePart | None:
    found = [each for each in filters(detector) if each.weights[0, 0].size > 1]
    if not found:
        notices.append(f"{detector.name} has no convolution with a kernel of more than one pixel")
        return None
    shown = [found[0]] if len(found) == 1 else [found[0], found[-1]]
    return PagePart(
        "Filters",
        figures=[
            Figure(
                f"filters-{number}",
                f"The first filters of {each.layer} ({'×'.join(map(str, each.weights.shape))}), every channel "
                "normalised by itself (study A).",
                figures.draw_filters(each),
            )
            for number, each in enumerate(shown, 1)
        ],
    )


def _activations(
    detector: Detector, pictures: Pictures, settings: PageSettings, notices: list[str]
) -> PagePart | None:
    if not settings.pictures:
        notices.append("activation maps show the images and are left out")
        return None
    if not detector.differentiable:
        return None
    drawn = []
    for number, row in enumerate(pictures.few(min(_SHOWN_IMAGES, settings.images)), 1):
        found = activations(detector, [pictures.levels[row]])
        if not found:
            notices.append(f"{detector.name} has no layer whose output is laid out over the image")
            return None
        drawn.append(
            Figure(
                f"activations-{number}",
                f"{pictures.names[row]}: the channels of some layers that vary most over the image, each with its own "
                "scale (study A).",
                figures.draw_activations(found, 0),
            )
        )
    return PagePart("Activation maps", figures=drawn)


def _hardest(
    detector: Detector, pictures: Pictures, settings: PageSettings, notices: list[str], progress: Progress
) -> PagePart | None:
    if pictures.data is None:
        notices.append("the hardest mistakes need data with labels")
        return None
    progress.start(len(pictures.data))
    found = worst_mistakes(detector, pictures.data, settings.images, advance=progress.advance)
    kinds = (
        ("false_positives", "real, called fake", found.false_positives, found.positives),
        ("false_negatives", "fake, called real", found.false_negatives, found.negatives),
    )
    part = PagePart("Hardest mistakes")
    part.texts.append(
        f"Of {counted(found.images, 'image')}: {counted(found.positives, 'false positive')} and "
        f"{counted(found.negatives, 'false negative')}."
    )
    if found.unreadable:
        notices.append(f"{counted(len(found.unreadable), 'image')} of the data cannot be read")
    if settings.pictures:
        rows = [(title, images, f"no image is {title}") for _, title, images, _ in kinds]
        part.figures.append(
            Figure(
                "hardest",
                "The surest mistakes, the surest first, with the log-odds of fake.",
                figures.draw_contact_sheet(rows),
            )
        )
    part.tables.append(_mistakes([(name, images) for name, _, images, _ in kinds]))
    return part


def _mistakes(kinds: Sequence[tuple[str, Sequence[Mistake]]]) -> Table:
    rows = tuple(
        (
            TableCell(kind),
            TableCell(each.sample.id),
            TableCell(each.sample.generator),
            TableCell(float(probabilities(_tensor([each.log_odds]))[0])),
            TableCell(each.log_odds),
            TableCell("×".join(map(str, reversed(each.levels.shape[1:])))),
        )
        for kind, images in kinds
        for each in images
    )
    columns = (
        Column("kind"), Column("image"), Column("generator"), Column("score", 4), Column("log-odds (nats)", 2),
        Column("width × height"),
    )  # fmt: skip
    return Table("hardest", "Hardest mistakes", "The surest mistakes of either kind.", columns, rows)


def checked_images(settings: PageSettings) -> int:
    """Return the number of images that a page computes maps of."""
    return max(_CHECKED, settings.images)
