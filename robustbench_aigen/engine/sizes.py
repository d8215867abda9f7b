"""Batches of images that are not all of one size."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from robustbench_aigen.data.audit.survey import survey_headers
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.detectors.contract import Detector
from robustbench_aigen.detectors.description import describe_padding, pads_undeclared
from robustbench_aigen.notices import Notice
from robustbench_aigen.numerics.eight_bit import to_pixels
from robustbench_aigen.stages.stage import Attack

_WASTE = 1.5
"""Largest ratio of the padded area to the area of an image."""
_SIDE = 512
"""Largest side of an image in a check of a detector: a check of whole photographs takes minutes and 10 GB."""
_TILES = 2
"""The same for a detector that sees tiles, in tiles."""


def same_size(levels: list[Tensor], rows: Iterable[int]) -> list[list[int]]:
    """Group rows by the size of their images, in order of first appearance."""
    groups: dict[torch.Size, list[int]] = defaultdict(list)
    for row in rows:
        groups[levels[row].shape].append(row)
    return list(groups.values())


def nearby_sizes(levels: list[Tensor], rows: Iterable[int]) -> list[list[int]]:
    """Group rows so that padding to the largest of a group wastes little memory; one size is one group.

    Images are taken in order of their shapes; a group ends where an image would leave another with a place of more
    than 1.5 times its area.
    """
    ordered = sorted(rows, key=lambda row: tuple(levels[row].shape[1:]))
    groups: list[list[int]] = []
    height, width, smallest = 0, 0, 0
    for row in ordered:
        own_height, own_width = levels[row].shape[1:]
        new_height, new_width = max(height, own_height), max(width, own_width)
        new_smallest = min(smallest or own_height * own_width, own_height * own_width)
        if groups and new_height * new_width <= _WASTE * new_smallest:
            groups[-1].append(row)
        else:
            groups.append([row])
            new_height, new_width = own_height, own_width
            new_smallest = own_height * own_width
        height, width, smallest = new_height, new_width, new_smallest
    return groups


def attack_groups(
    stages: Iterable[Attack],
    detector: Detector,
    surrogate: Detector | None,
    levels: list[Tensor],
    rows: Iterable[int],
) -> list[list[int]]:
    """Return the groups of rows for some attacks: similar sizes if all backends and detectors accept mixed sizes, else equal sizes."""
    sized = all(d.preprocessing.input_size is not None for d in (detector, surrogate) if d is not None)
    mixed = sized and all(
        stage.params["backend"] == "native" and not stage.through and not stage.recipe.same_size
        for stage in stages
    )
    return nearby_sizes(levels, rows) if mixed else same_size(levels, rows)


def smaller_than_crops(selection: Selection, detectors: Iterable[Detector]) -> list[Notice]:
    """Return a warning for each detector that pads images with black because they are smaller than its crop.

    Only where no ``pad`` is declared; sizes are read from the headers of the images.
    """
    undeclared = [each for each in detectors if pads_undeclared(each)]
    if not undeclared:
        return []
    facts = [found.facts for found in survey_headers(selection.source, selection.indices)]
    shapes = [(each.height, each.width) for each in facts]
    return [notice for each in undeclared for notice in describe_padding(each, shapes)]


def padded(images: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Stack 3×h×w uint8 images into N×3×H×W, padded with black at the right and at the bottom.

    Returns
    -------
    tuple
        The stack, and N×2 heights and widths; None instead where all are H×W.
    """
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = sizes.amax(dim=0).tolist()
    if bool((sizes == sizes[0]).all()):
        return torch.stack(images), None
    stack = torch.zeros((len(images), 3, height, width), dtype=torch.uint8)
    for place, image in zip(stack, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return stack, sizes


@torch.no_grad()
def middles_of(levels: list[Tensor], detector: Detector, device: torch.device) -> list[Tensor]:
    """Return the middles of large images for checks of a detector that sees images at their own size.

    Images stay whole for a detector that resizes them, or that fails on the middle of the first one.

    Parameters
    ----------
    levels
        3×H×W uint8 of any sizes.
    """
    settings = detector.preprocessing
    if settings.resize_to is not None or (settings.input_size is not None and settings.crop is None):
        return levels
    sides = (_SIDE, _SIDE)
    if settings.input_size is not None:
        height, width = settings.input_size
        sides = (
            (_TILES * height, _TILES * width)
            if settings.crop == "tiles"
            else (max(_SIDE, height), max(_SIDE, width))
        )
    middles = [_middle(image, sides) for image in levels]
    first = next((cut for cut, image in zip(middles, levels, strict=True) if cut is not image), None)
    if first is None:
        return levels
    try:
        detector(to_pixels(first[None].to(device)))
    except Exception:  # noqa: BLE001  The check of the whole image names the fault.
        return levels
    return middles


def _middle(image: Tensor, most: tuple[int, int]) -> Tensor:
    """Return the middle of a 3×H×W image; the image itself where no side is larger than ``most``."""
    sides = [min(side, largest) for side, largest in zip(image.shape[1:], most, strict=True)]
    if sides == list(image.shape[1:]):
        return image
    top, left = ((side - kept) // 2 for side, kept in zip(image.shape[1:], sides, strict=True))
    return image[:, top : top + sides[0], left : left + sides[1]].clone()
