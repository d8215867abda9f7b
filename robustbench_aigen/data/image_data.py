"""Labelled images of any origin: sources on disk, tensors, PIL images, data sets of torch, data frames."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, cast

from robustbench_aigen.data.memory import MemorySource, is_tensor, known_labels, levels_of_each
from robustbench_aigen.data.opening import open_data
from robustbench_aigen.data.samples import ImageSource, Sample
from robustbench_aigen.data.selection import ALL, Selection, select
from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml
from robustbench_aigen.errors import UserError, did_you_mean
from robustbench_aigen.numerics.images_like import ImagesLike, LabelsLike
from robustbench_aigen.scenario.data_spec import DataSpec


@dataclass(frozen=True)
class ImageData:
    """Labelled images.

    Parameters
    ----------
    source
        Where they come from.
    split
        ``train``, ``val``, ``test`` or ``all``.
    limit
        At most so many images, stratified by generator and label.
    spec
        What a scenario would say of them; None in memory.
    """

    source: ImageSource
    split: str = ALL
    limit: int | None = None
    spec: DataSpec | None = None

    @classmethod
    def open(
        cls,
        source: str | Path | Mapping[str, Any],
        *,
        split: str = "test",
        limit: int | None = None,
        folder: str | Path = ".",
        **said: Any,
    ) -> "ImageData":
        """Open what a scenario's ``data:`` may name.

        Parameters
        ----------
        source
            ``minigen``, ``hf://org/name``, a folder or file, or the section as a mapping.
        split, limit
            Which images.
        folder
            Where relative paths start.
        said
            ``layout``, ``labels``, ``label``, ``generator``, ``columns`` as in a scenario.

        Raises
        ------
        UserError
            If there are no such images, or their layout is ambiguous.
        """
        content = dict(source) if isinstance(source, Mapping) else {"source": fspath(source)}
        content = {"split": split, **({} if limit is None else {"limit": limit}), **content, **said}
        spec = validated(DataSpec, LocatedYaml(NOWHERE, content), "data")
        return cls(open_data(spec, Path(folder)), spec.split, spec.limit, spec)

    @classmethod
    def from_tensors(
        cls,
        images: Any,
        labels: LabelsLike,
        *,
        generators: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        name: str = "tensors",
    ) -> "ImageData":
        """Take a tensor N×3×H×W, float in [0, 1] (rounded to 8 bits) or uint8.

        Raises
        ------
        UserError
            If the tensor is no images, or labels, generators, ids or splits do not fit.
        """
        levels = levels_of_each(images)
        found = known_labels(labels, len(levels), name)
        return cls(
            MemorySource(levels.__getitem__, found, generators=generators, ids=ids, splits=splits, name=name)
        )

    @classmethod
    def from_images(
        cls,
        images: ImagesLike,
        labels: LabelsLike,
        *,
        generators: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        splits: Sequence[str | None] | None = None,
        name: str = "images",
    ) -> "ImageData":
        """Take a list of 3×H×W tensors, PIL images or paths, of any sizes. Paths are the ids of files."""
        if is_tensor(images):
            return cls.from_tensors(images, labels, generators=generators, ids=ids, splits=splits, name=name)
        listed = list(cast(Sequence[object], images))
        if ids is None and all(isinstance(image, str | PathLike) for image in listed):
            ids = [fspath(cast(str, image)) for image in listed]
        found = known_labels(labels, len(listed), name)
        return cls(
            MemorySource(listed.__getitem__, found, generators=generators, ids=ids, splits=splits, name=name)
        )

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        labels: Mapping[object, Literal["real", "fake"]] | None = None,
        name: str | None = None,
    ) -> "ImageData":
        """Take a data set of torch, whose items are (image, label). Images are read when they are needed.

        Parameters
        ----------
        dataset
            With a length. Its labels are ``targets`` or ``labels`` where it has them, else read from the items.
        labels
            ``{0: "fake", 1: "real"}`` where its labels mean something else than 0 real and 1 fake.
        name
            Under which runs list it.

        Raises
        ------
        UserError
            If an item is no image with a label, or another one the second time it is read.
        """
        called = name or type(dataset).__name__
        if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
            raise UserError(f"{called} has no length", hint="give a data set whose items have numbers")
        given = next((getattr(dataset, key) for key in ("targets", "labels") if hasattr(dataset, key)), None)
        listed = [dataset[place][1] for place in range(len(dataset))] if given is None else list(given)
        plain = [item.item() if hasattr(item, "item") else item for item in listed]
        if labels is not None:
            plain = [_meaning(labels, item, place, called) for place, item in enumerate(plain)]

        def read(place: int) -> object:
            item = dataset[place]
            return item[0] if isinstance(item, tuple | list) else item

        return cls(MemorySource(read, known_labels(plain, len(dataset), called), name=called, is_lazy=True))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        image: str = "path",
        label: str = "label",
        generator: str | None = None,
        split: str | None = None,
        folder: str | Path = ".",
        name: str = "frame",
    ) -> "ImageData":
        """Take a data frame with a column of paths, tensors or PIL images.

        Parameters
        ----------
        frame
            A pandas data frame.
        image, label, generator, split
            Its columns.
        folder
            Where relative paths start.
        name
            Under which runs list it.

        Raises
        ------
        UserError
            If a column is missing, or its values are none.
        """
        for column in (image, label, generator, split):
            if column is not None and column not in frame:
                raise UserError(
                    f"the frame has no column '{column}'", hint=did_you_mean(column, map(str, frame))
                )
        images = [
            str(Path(folder) / fspath(each)) if isinstance(each, str | PathLike) else each
            for each in frame[image]
        ]
        are_paths = all(isinstance(each, str) for each in images)
        return cls.from_images(
            images,
            frame[label].tolist(),
            generators=None if generator is None else frame[generator].tolist(),
            ids=[fspath(each) for each in frame[image]] if are_paths else None,
            splits=None if split is None else frame[split].tolist(),
            name=name,
        )

    @property
    def selection(self) -> Selection:
        """The chosen images of the source."""
        return select(self.source, self.split, self.limit)

    @property
    def samples(self) -> list[Sample]:
        """Ids, labels, generators and splits of the chosen images."""
        return self.selection.samples

    def __len__(self) -> int:
        return len(self.selection.indices)


def _meaning(labels: Mapping[object, str], item: object, place: int, called: str) -> str:
    if item not in labels:
        raise UserError(
            f"{called}: label {place} is {item!r}, and labels= says nothing of it",
            hint="labels={0: 'fake', 1: 'real'}",
        )
    return labels[item]


def as_image_data(data: Any, split: str | None = None, limit: int | None = None) -> ImageData:
    """Return images of whatever can be evaluated.

    Parameters
    ----------
    data
        ``ImageData``; a source by name or path, or a ``data:`` section; (images, labels); a data set of torch; a data
        frame with the columns ``path`` and ``label``.
    split
        None is ``test`` for named sources and ``all`` in memory.
    limit
        At most so many images.
    """
    if isinstance(data, ImageData):
        return ImageData(data.source, split or data.split, limit or data.limit, data.spec)
    if isinstance(data, str | Path | Mapping):
        own = data.get("split") if isinstance(data, Mapping) else None
        return ImageData.open(data, split=split or own or "test", limit=limit)
    if isinstance(data, tuple) and len(data) == 2:
        made = ImageData.from_images(*data)
    elif hasattr(data, "columns") and hasattr(data, "iloc"):
        made = ImageData.from_frame(data)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, list):
        made = ImageData.from_dataset(data)
    else:
        raise UserError(
            f"data is a {type(data).__name__}",
            hint="give 'minigen', a folder, (images, labels), a data set of torch, a data frame, or ImageData",
        )
    return ImageData(made.source, split or ALL, limit)
