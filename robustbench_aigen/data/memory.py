"""Images in memory: tensors, arrays and Pillow images as levels, and a source that gives them to the engine as files."""

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from torch import Tensor

from robustbench_aigen.data.columns import read_splits
from robustbench_aigen.data.generators import read_generators
from robustbench_aigen.data.label_values import LabelMeaning, class_of_folder
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.file_reading import located_file, read_file
from robustbench_aigen.notices import warning
from robustbench_aigen.numerics.eight_bit import LEVELS
from robustbench_aigen.numerics.images_like import (
    ACCEPTED,
    check_stack,
    described,
    levels_and_rounding,
    shape_text,
)
from robustbench_aigen.scenario.words import printable
from robustbench_aigen.text import counted
from robustbench_aigen.words import label_of

Refusal = Callable[[int, str, str], UserError]
"""Makes the error of an item: its number, what is wrong, what to do."""

_LABELS_ARE = "labels are 0 or 'real' for photographs, 1 or 'fake' for AI-generated images"


class MemorySource:
    """An image source in memory: images are given as binary PPM, which decodes exactly, and paths as their own bytes.

    Parameters
    ----------
    name
        The name of the data in tables and messages.
    samples
        Sample of each image.
    images
        The 3×H×W uint8 levels of each sample, or the path of its file.
    layout
        A description of the images.
    notices
        Notices for the user.
    folder
        The folder that relative paths start at.
    """

    def __init__(
        self,
        name: str,
        samples: list[Sample],
        images: Sequence[Tensor | str],
        layout: str,
        notices: Iterable[str] = (),
        folder: Path = Path(),
    ) -> None:
        self.name, self.samples, self.layout = name, samples, layout
        self.notices: list[str] = list(notices)
        self._images = list(images)
        self._folder = folder.expanduser().resolve()

    def encoded(self, index: int) -> bytes:
        """Return an image as PPM, or the bytes of its file."""
        image = self._images[index]
        if isinstance(image, str):
            return read_file(located_file(image, (self._folder,)))
        return ppm(image)


def ppm(levels: Tensor) -> bytes:
    """Return 3×H×W uint8 levels as a binary PPM file, which every reader decodes to the same levels."""
    _, height, width = levels.shape
    return f"P6\n{width} {height}\n{LEVELS}\n".encode() + levels.permute(1, 2, 0).numpy().tobytes()


def memory_source(
    images: object,
    labels: object,
    *,
    name: str,
    generators: object = None,
    ids: object = None,
    splits: object = None,
    folder: str | Path = ".",
    words: Mapping[str, int] | None = None,
    called: tuple[str, str] = ("images", "labels"),
    notices: Iterable[str] = (),
) -> MemorySource:
    """Make a source of images in memory and of paths.

    Parameters
    ----------
    images
        A tensor or an array N×3×H×W, or N images as :func:`levels_of` takes them.
    labels
        N labels as :func:`read_label` takes them.
    name
        The name of the data.
    generators, ids, splits
        N values each, or None; one generator or split may serve all images. Ids are paths or six-digit numbers by
        default.
    folder
        The folder that relative paths start at.
    words
        The user's own meaning of labels.
    called
        Names of the images and the labels in messages.
    notices
        Notices to begin with.

    Raises
    ------
    UserError
        For an invalid image, label, generator, id or split, with its number.
    """
    items = _items(images)
    if not items:
        raise UserError("there are no images", hint="give at least one image of each class")
    values = listed(labels, "labels", len(items))
    called_images, called_labels = called
    meanings = [read_label(value, f"{called_labels}[{row}]", words) for row, value in enumerate(values)]
    paths = [_path(item) for item in items]
    base = Path(folder)
    _check_paths(paths, base, called_images)
    _check_folders(values, paths, words)
    names = _ids(ids, paths, called_images)
    samples = _samples(meanings, names, generators, splits)
    kept: list[Tensor | str] = []
    rounded = 0
    for row, (item, path) in enumerate(zip(items, paths, strict=True)):
        if path is not None:
            kept.append(path)
            continue
        levels, is_rounded = levels_and_rounding(item, f"{called_images}[{row}]")
        kept.append(levels)
        rounded += is_rounded
    told = [*notices, *_doubts(kept, rounded)]
    return MemorySource(name, samples, kept, _layout(kept), told, base)


def read_label(value: object, where: str = "label", words: Mapping[str, int] | None = None) -> int:
    """Return 0 for a label of a real image, 1 for one of an AI-generated image.

    Parameters
    ----------
    value
        0, 1, ``real`` or ``fake``, as a number, text, or a tensor or array of one value.
    where
        Name of the label in messages.
    words
        The user's own meaning of labels, which goes first: labels as text to 0 or 1.

    Raises
    ------
    UserError
        If it is anything else.
    """
    plain = plain_label(value)
    if words and (own := words.get(label_text(plain))) is not None:
        return own
    if isinstance(plain, int | float | str) and label_text(plain) in ("0", "1"):
        return int(label_text(plain))
    if isinstance(plain, str) and (said := label_of(plain, context="column")) is not None:
        return said
    raise UserError(f"{shortened(repr(plain))} is not a label", key=where, hint=_LABELS_ARE)


def plain_label(value: object) -> object:
    """Return a label as a Python value: tensors and arrays of one value by that value."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        many = value.numel() if isinstance(value, Tensor) else value.size
        return value.item() if many == 1 else value.tolist()
    return value


def label_text(plain: object) -> str:
    """Return a label as text without case, a whole number without its fraction: 1.0 and True are 1."""
    if isinstance(plain, bool) or (isinstance(plain, float) and plain.is_integer()):
        plain = int(plain)
    return str(plain).strip().casefold()


def listed(values: object, name: str, count: int) -> list[object]:
    """Return one value for each image as a list.

    Raises
    ------
    UserError
        If they are not a flat list of that length.
    """
    if isinstance(values, str | bytes | Mapping | set | frozenset) or not (
        isinstance(values, Iterable) or hasattr(values, "__array__")
    ):
        hint = f"for all images alike: [{values!r}] * {count}" if isinstance(values, str | int) else None
        raise UserError(
            f"{name} must be a list, an array or a tensor with a value for each image, not {described(values)}",
            hint=hint,
        )
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) != 1:
        hint = f"{name}.flatten()" if max(shape, default=1) == int(np.prod(shape)) else None
        if len(shape) == 2 and shape[1] == 2:
            hint = f"for one-hot vectors, write {name}.argmax(1)"
        raise UserError(f"{name} have the shape {shape_text(shape)}, not one value for each image", hint=hint)
    found = values.tolist() if hasattr(values, "tolist") else list(values)  # type: ignore[call-overload]
    if len(found) != count:
        raise UserError(
            f"{counted(count, 'image')} and {len(found)} {name}",
            hint="give one value for each image, in the order of the images",
        )
    return found


def _items(images: object) -> Sequence[object]:
    """Return images one by one."""
    if isinstance(images, str | Path):
        raise UserError(
            f"'{shortened(str(images))}' is one path, not a list of images",
            hint="open a folder or a table with ImageData.open(path); one image is [path]",
        )
    if isinstance(images, Image.Image):
        raise UserError("one PIL image is not a list of images", hint="[image]")
    if isinstance(images, Mapping):
        raise UserError("images must be a tensor, an array or a list, not a mapping", hint=ACCEPTED)
    if isinstance(images, Tensor | np.ndarray):
        if images.ndim != 1:
            check_stack(images)
            return list(images)
        return list(images.tolist())
    if not isinstance(images, Iterable):
        raise UserError(
            f"images must be a tensor, an array or a list, not {described(images)}", hint=ACCEPTED
        )
    return list(images)


def _is_text(images: object) -> bool:
    return isinstance(images, np.ndarray) and images.dtype.kind == "U"


def _path(item: object) -> str | None:
    return str(item) if isinstance(item, str | Path) else None


def _check_paths(paths: Sequence[str | None], folder: Path, called: str) -> None:
    """Refuse paths that are folders, and paths if all files are missing."""
    base = folder.expanduser().resolve()
    missing: list[int] = []
    count = 0
    for row, path in enumerate(paths):
        if path is None:
            continue
        count += 1
        try:
            file = located_file(path, (base,))
        except OSError:
            missing.append(row)
            continue
        if file.is_dir():
            raise UserError(
                f"'{shortened(path)}' is a folder",
                key=f"{called}[{row}]",
                hint="open a folder with ImageData.open(folder)",
            )
    if missing and len(missing) == count:
        raise UserError(
            f"no file at '{shortened(str(paths[missing[0]]))}', nor at any of the {count} paths",
            key=f"{called}[{missing[0]}]",
            hint=f"relative paths start at {shortened(str(base))}",
        )


def _check_folders(
    values: Sequence[object], paths: Sequence[str | None], words: Mapping[str, int] | None
) -> None:
    """Refuse numbers that the class folders of the images contradict throughout."""
    said: dict[int, set[int]] = {0: set(), 1: set()}
    known: dict[str, int | None] = {}
    for value, path in zip(values, paths, strict=True):
        plain = plain_label(value)
        if path is None or label_text(plain) not in ("0", "1") or (words and label_text(plain) in words):
            continue
        folder = str(PurePosixPath(path.replace("\\", "/")).parent)
        if folder not in known:
            known[folder] = class_of_folder(folder)
        label = known[folder]
        if label is not None:
            said[int(label_text(plain))].add(label)
    if said == {0: {1}, 1: {0}}:
        raise UserError(
            "label 0 is on images in folders of fakes, and label 1 on images in folders of reals",
            hint="0 means real and 1 fake here; where the folders are wrong, give the labels as 'real' and 'fake'",
        )


def _ids(ids: object, paths: Sequence[str | None], called: str) -> list[str]:
    """Return the ids that are given, or paths, or six-digit numbers."""
    if ids is None:
        names = [f"{row:06}" if path is None else printable(path) for row, path in enumerate(paths)]
        same = [name if path is None else posixpath.normpath(path.replace("\\", "/")) for name, path in zip(names, paths, strict=True)]  # fmt: skip
        what, hint = called, "name every image once, or give copies different ids"
    else:
        values = listed(ids, "ids", len(paths))
        names = [printable(str(plain_label(value))) for value in values]
        empty = next((row for row, value in enumerate(values) if value is None or not names[row]), None)
        if empty is not None:
            raise UserError("the id is empty", key=f"ids[{empty}]", hint="give every image a different id")
        same, what, hint = names, "ids", "give every image a different id"
    first: dict[str, int] = {}
    for row, name in enumerate(same):
        if first.setdefault(name, row) != row:
            raise UserError(
                f"'{shortened(names[row])}' is listed twice, first at {what}[{first[name]}]",
                key=f"{what}[{row}]",
                hint=hint,
            )
    return names


def _samples(meanings: Sequence[int], ids: Sequence[str], generators: object, splits: object) -> list[Sample]:
    count = len(ids)

    def refusal(row: int, message: str, _: str) -> UserError:
        return UserError(message, key=f"generators[{row}]", hint="correct the generator or the label")

    given = _repeated(generators, "generators", count)
    whose = read_generators(given, [LabelMeaning(label, None) for label in meanings], refusal)
    parts = read_splits(_repeated(splits, "splits", count), is_sure=True)
    return [Sample(*row) for row in zip(ids, meanings, whose, parts, strict=True)]


def _repeated(values: object, name: str, count: int) -> list[object]:
    """Return a value for each image; one word is for all of them."""
    if values is None or isinstance(values, str):
        return [values] * count
    return listed(values, name, count)


def _doubts(images: Sequence[Tensor | str], rounded: int) -> list[str]:
    """Return notices on rounding, and on values that may have a wrong range."""
    notices: list[str] = []
    if rounded:
        notices.append(
            counted(
                rounded,
                "image is off the 8-bit grid and was rounded to multiples of 1/255",
                "images are off the 8-bit grid and were rounded to multiples of 1/255",
            )
        )
    levels = [image for image in images if isinstance(image, Tensor)]
    if levels and len(levels) == len(images) and max(int(image.max()) for image in levels) <= 1:
        notices.append(
            warning(
                "no image is brighter than 1 of 255 levels; if the pixels were in [0, 1], do not divide by 255 and do not convert to integers"
            )
        )
    return notices


def _layout(images: Sequence[Tensor | str]) -> str:
    kinds = Counter("paths" if isinstance(image, str) else "in memory" for image in images)
    if len(kinds) > 1:
        return f"{kinds['in memory']} images in memory, {kinds['paths']} paths"
    return "images in memory" if "in memory" in kinds else "a list of paths"
