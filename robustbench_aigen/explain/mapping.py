"""Maps of which pixels an answer rests on: one function for every method and every detector."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustbench_aigen.data.samples import CLASS_NAMES
from robustbench_aigen.detectors.borrowing import borrowed
from robustbench_aigen.detectors.contract import Detector, verdicts
from robustbench_aigen.detectors.loading import load_detector
from robustbench_aigen.detectors.scoring import default_batch_size
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.explain.class_activation import CLASSES, TITLES, class_activation
from robustbench_aigen.explain.gradient_maps import input_gradients, integrated_gradients, smoothgrad
from robustbench_aigen.explain.masking import lime, occlusion
from robustbench_aigen.explain.task import Task, TaskMaps
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.numerics.images_like import ImagesLike, to_levels_list
from robustbench_aigen.numerics.memory import within_memory
from robustbench_aigen.numerics.seeding import preserved_global_rng

Towards = Literal["verdict", "fake", "real"]


class MapMethod(NamedTuple):
    """A method: its function, its title in figures, and whether it needs gradients and has a sign.

    ``quick`` are the options with which maps are compared and not shown.
    """

    compute: Callable[..., TaskMaps]
    title: str
    needs_gradients: bool
    is_signed: bool
    quick: Mapping[str, Any] = {}


METHODS = {
    **{
        name: MapMethod(
            partial(class_activation, kind=kind), TITLES[name], needs_gradients=True, is_signed=False
        )
        for name, kind in CLASSES.items()
    },
    "integrated_gradients": MapMethod(
        integrated_gradients,
        "integrated gradients",
        needs_gradients=True,
        is_signed=True,
        quick={"most_steps": 32},
    ),
    "input_gradients": MapMethod(input_gradients, "input gradient", needs_gradients=True, is_signed=False),
    "smoothgrad": MapMethod(smoothgrad, "SmoothGrad", needs_gradients=True, is_signed=False),
    "occlusion": MapMethod(occlusion, "occlusion", needs_gradients=False, is_signed=True),
    "lime": MapMethod(lime, "LIME on squares", needs_gradients=False, is_signed=True),
}
"""All methods by name."""


@dataclass(frozen=True)
class Maps:
    """The maps of some images by one method.

    Parameters
    ----------
    method
        Its name in :data:`METHODS`.
    values
        N maps H×W float32 of the sizes of the images: evidence for the explained class. Below 0, of a signed method,
        is evidence against it.
    towards
        N explained classes: 0 real, 1 fake.
    log_odds
        N log-odds of *fake*, in nats.
    problems
        Why a map shows nothing (constant, NaN, one pixel), one text for each image; empty for a valid map.
    notes
        What limits a valid map, one text for each image; mostly empty.
    """

    method: str
    values: list[NDArray[np.float32]]
    towards: NDArray[np.int_]
    log_odds: NDArray[np.float32]
    problems: list[str]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.values)


def maps(
    detector: Detector | nn.Module | str,
    images: ImagesLike,
    method: str = "integrated_gradients",
    *,
    towards: Towards = "verdict",
    seed: int = 42,
    batch_size: int | None = None,
    **options: Any,
) -> Maps:
    """Return a map for each image: the pixels on which the detector's log-odds rest.

    The same seed gives the same maps, in any order and batch of the images.

    Parameters
    ----------
    detector
        A detector, an ``nn.Module`` or an id.
    images
        Images of any sizes, as :meth:`Detector.scores` takes them; rounded to 8 bits.
    method
        One of :data:`METHODS`. Occlusion and LIME need no gradients.
    towards
        The explained class: ``verdict``, that of each image's verdict, or one class for all.
    seed
        For SmoothGrad's noise and for LIME's hidden cells.
    batch_size
        Largest number of images in one pass; less where memory runs out.
    options
        Of the method: ``layer`` of Grad-CAM; ``steps`` and ``baseline`` of integrated gradients; ``samples`` and
        ``noise`` of SmoothGrad; ``window``, ``stride`` and ``baseline`` of occlusion; ``cells`` and ``samples`` of LIME.

    Raises
    ------
    UserError
        If the method is unknown, needs gradients that the detector lacks, or does not take an option; if a layer does
        not exist; if the library of the method is not installed.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}", hint=did_you_mean(str(method), METHODS))
    if towards not in ("verdict", *CLASS_NAMES):
        raise UserError(f"towards={towards!r} is not a class", hint="verdict, fake or real")
    loaded, kind = load_detector(detector, device="auto"), METHODS[method]
    levels = to_levels_list(images)
    if levels:
        loaded.see(*levels[0].shape[1:])
    if kind.needs_gradients and not loaded.differentiable:
        raise UserError(
            f"{method} needs gradients, and {loaded.name} has no gradients", hint="use occlusion or lime"
        )
    odds = loaded.log_odds(levels)
    wanted = verdicts(odds, loaded.threshold)
    if towards != "verdict":
        wanted = torch.full_like(wanted, CLASS_NAMES.index(towards))
    return maps_towards(loaded, levels, wanted, method, seed, batch_size, options, odds)


def maps_towards(
    detector: Detector,
    levels: list[Tensor],
    wanted: Tensor,
    method: str,
    seed: int,
    batch_size: int | None,
    options: Mapping[str, Any],
    odds: Tensor | None = None,
) -> Maps:
    """Return the maps of N uint8 images 3×H×W for N explained classes; the rest as of :func:`maps`."""
    kind = METHODS[method]
    size = default_batch_size(detector, detector.device) if batch_size is None else batch_size
    values: list[Tensor] = [torch.zeros(image.shape[1:]) for image in levels]
    notes, problems = [""] * len(levels), [""] * len(levels)
    for rows in _groups(levels, size):
        if levels[rows[0]][0].numel() == 1:
            for row in rows:
                problems[row] = "an image of one pixel has no map"
            continue
        compute = partial(
            _computed, detector, [levels[row] for row in rows], wanted[rows], kind, seed, options
        )
        found, _ = within_memory(compute, size, detector.name)
        for place, row in enumerate(rows):
            values[row], notes[row] = found.values[place], found.notes[place]
            problems[row] = _problem(found.values[place])
    odds = detector.log_odds(levels) if odds is None else odds
    return Maps(method, [each.numpy() for each in values], wanted.numpy(), odds.numpy(), problems, notes)


_TOGETHER = 2**23
"""Pixels of images of one size that share a search for the target layer; a method passes them in batches."""


def applicable(detector: Detector, methods: "tuple[str, ...] | list[str]") -> list[str]:
    """Return those methods that a detector's gradients allow."""
    return [name for name in methods if detector.differentiable or not METHODS[name].needs_gradients]


def _groups(levels: list[Tensor], size: int) -> list[list[int]]:
    """Return the places of images of one size, of one batch or of as many as are small together."""
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for row, image in enumerate(levels):
        groups[image.shape].append(row)
    most = {shape: max(size, _TOGETHER // max(1, shape[1:].numel())) for shape in groups}
    return [
        rows[first : first + most[shape]]
        for shape, rows in groups.items()
        for first in range(0, len(rows), most[shape])
    ]


def _computed(
    detector: Detector,
    levels: list[Tensor],
    wanted: Tensor,
    kind: MapMethod,
    seed: int,
    options: Mapping[str, Any],
    size: int,
) -> TaskMaps:
    keys = tuple(f"{seed} {sha256(image.contiguous().numpy().tobytes()).hexdigest()}" for image in levels)
    with borrowed(detector), preserved_global_rng():
        task = Task(
            detector,
            to_pixels(torch.stack(levels).to(detector.device)),
            (2.0 * wanted - 1).to(detector.device),
            keys,
            size,
        )
        _check_options(kind, options)
        return kind.compute(task, **options)


def _check_options(kind: MapMethod, options: Mapping[str, Any]) -> None:
    known = [
        name
        for name, parameter in inspect.signature(kind.compute).parameters.items()
        if name not in ("task", "kind") and parameter.default is not inspect.Parameter.empty
    ]
    for name in options:
        if name not in known:
            raise UserError(f"{kind.title} has no option '{name}'", hint=did_you_mean(name, known))


def _problem(values: Tensor) -> str:
    if not bool(values.isfinite().all()):
        return "the map has values that are NaN or infinite"
    if float(values.max()) == float(values.min()):
        return "the map is constant"
    return ""
