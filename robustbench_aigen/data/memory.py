"""Images in memory as a source: tensors, PIL images, files by their paths, data sets of torch."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aigen.data.samples import Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import read_file
from robustbench_aigen.numerics.images_like import labels_of, to_levels_list

_SPLITS = ("train", "val", "test")


class MemorySource:
    """Images that somebody holds, or reads one by one.

    An image is given as binary PPM (Netpbm), which needs no codec and decodes to the very levels; a path is given as
    the bytes of its file.

    Parameters
    ----------
    read
        Returns the image of a place: a tensor 3×H×W, a PIL image, or a path.
    labels
        0 real, 1 fake, one for each image.
    generators, ids, splits
        One for each image. Without, fakes are of the generator ``fake``, ids are six-digit numbers, and there are no
        splits.
    name
        Under which runs list it.
    is_lazy
        Whether ``read`` may answer otherwise the second time: then it must not.

    Raises
    ------
    UserError
        If lengths differ, an id is there twice, or a split is none.
    """

    def __init__(
        self,
        read: Callable[[int], object],
        labels: Sequence[int],
        *,
        generators: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        name: str,
        is_lazy: bool = False,
    ) -> None:
        count = len(labels)
        if not count:
            raise UserError(f"{name}: there are no images", hint="give at least one image of each class")
        for what, given in (("generators", generators), ("ids", ids), ("splits", splits)):
            if given is not None and len(given) != count:
                raise UserError(
                    f"{name}: {len(given)} {what} for {count} images",
                    hint=f"give one of {what} for each image",
                )
        names = [f"{place:06}" for place in range(count)] if ids is None else [str(each) for each in ids]
        seen: set[str] = set()
        for each in names:
            if each in seen:
                raise UserError(
                    f"{name}: the id '{each}' is there twice", hint="give each image an id of its own"
                )
            seen.add(each)
        for place, split in enumerate(splits or ()):
            if split is not None and split not in _SPLITS:
                raise UserError(f"{name}: split {place} is '{split}'", hint=f"known: {', '.join(_SPLITS)}")
        made_by = ["fake" if label else "real" for label in labels] if generators is None else generators
        self.name, self.layout, self.notices = name, "in memory", list[str]()
        self.samples = [
            Sample(
                names[place],
                int(labels[place]),
                str(made_by[place]),
                None if splits is None else splits[place],
            )
            for place in range(count)
        ]
        self._read, self._is_lazy = read, is_lazy
        self._digests: dict[int, str] = {}

    def encoded(self, index: int) -> bytes:
        """Return an image as PPM, or the bytes of its file.

        Raises
        ------
        UserError
            If it is no image, or another one than the first time.
        """
        image = self._read(index)
        if isinstance(image, str | PathLike):
            return read_file(Path(fspath(image)))
        try:
            (levels,) = to_levels_list([image])  # type: ignore[list-item]
        except UserError as error:
            raise UserError(
                f"{self.name}, {self.samples[index].id}: {error.message}", hint=error.hint
            ) from None
        encoded = as_ppm(levels)
        if self._is_lazy:
            digest = sha256(encoded).hexdigest()
            if self._digests.setdefault(index, digest) != digest:
                raise UserError(
                    f"{self.name}, {self.samples[index].id}: the image is another one the second time it is read",
                    hint="evaluate without random augmentation",
                )
        return encoded


def as_ppm(levels: Tensor) -> bytes:
    """Return a 3×H×W uint8 image as binary PPM."""
    _, height, width = levels.shape
    return f"P6\n{width} {height}\n255\n".encode() + levels.permute(1, 2, 0).contiguous().numpy().tobytes()


def levels_of_each(images: Tensor) -> list[Tensor]:
    """Return the images of a tensor N×3×H×W (float in [0, 1] or uint8) as 3×H×W uint8."""
    return to_levels_list(images)


def known_labels(labels: object, count: int, what: str) -> list[int]:
    """Return labels as 0 and 1; ``what`` is what they belong to, for a message."""
    try:
        found: list[int] = labels_of(labels, count).tolist()  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(f"{what}: {error.message}", hint=error.hint) from None
    return found


def is_tensor(images: object) -> bool:
    """Whether images are one tensor."""
    return isinstance(images, torch.Tensor)
