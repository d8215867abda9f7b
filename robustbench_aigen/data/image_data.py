"""Labelled images from any source, for evaluation, audit and preparation."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, Union

from robustbench_aigen.data.opening import open_data, with_regions
from robustbench_aigen.data.samples import ImageSource, Sample, fingerprint
from robustbench_aigen.data.selection import ALL, Selection, select
from robustbench_aigen.documents.document import validated
from robustbench_aigen.documents.located_yaml import NOWHERE, LocatedYaml
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.scenario.data_spec import DataSpec

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset

    from robustbench_aigen.data.audit.inspection import Audit

DataLike = Union["ImageData", str, Path, Mapping[str, Any], tuple[Any, Any], "Dataset[Any]", "pd.DataFrame"]
"""Data that :func:`as_image_data` accepts."""
_FORMS = (
    "give ImageData, a path, 'minigen', a mapping as in YAML, (images, labels), a Dataset or a data frame"
)


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images: a source, and a selection of its images.

    The constructors are :meth:`open`, :meth:`from_tensors`, :meth:`from_images`, :meth:`from_dataset` and
    :meth:`from_frame`. Images in memory are copied, so that later changes of a tensor do not reach the data.

    Parameters
    ----------
    source
        The source of the images.
    split
        One of the splits, or ``all``.
    limit
        Largest number of images, stratified by generator and label; None for all.
    spec
        The data section of a scenario; None for data in memory.
    folder
        The folder that the relative paths of ``spec`` start at.
    """

    source: ImageSource
    split: str = ALL
    limit: int | None = None
    spec: DataSpec | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        _check_limit(self.limit)
        if not isinstance(self.split, str):
            raise UserError(
                f"split={shortened(repr(self.split))} is not the name of a split",
                hint="such as 'test' or 'all'",
            )
        # A source without splits is divided when its images are needed: copies are looked for in all of them.
        if self.split == ALL or all(sample.split is not None for sample in self.source.samples):
            _ = self.selection

    @classmethod
    def open(
        cls,
        source: str | Path | Mapping[str, Any] | Sequence[Any],
        split: str = "test",
        limit: int | None = None,
        layout: str | None = None,
        labels: Mapping[Any, str] | None = None,
        *,
        label: Literal["real", "fake"] | None = None,
        generator: str | None = None,
        columns: Mapping[str, str] | None = None,
        folder: str | Path = ".",
    ) -> Self:
        """Open images on disk, of the Hub, or in the package; takes what ``data`` of a scenario takes.

        Parameters
        ----------
        source
            ``minigen``, ``hf://org/name``, the path of a folder or of a Parquet, Arrow, CSV or tar file, a mapping of
            keys as in YAML, or a list of sources.
        split
            One of the splits, or ``all``.
        limit
            Largest number of images, stratified by generator and label.
        layout
            The layout of the images, if ambiguous.
        labels
            The meaning of the source's labels or class folders: ``{"ai": "fake", "photos": "real"}``.
        label
            The class of a source with only one class.
        generator
            The generator of all images.
        columns
            The columns of a table that are not called what they hold: ``{"image": …, "label": …}``.
        folder
            The folder that relative paths start at.

        Raises
        ------
        UserError
            If there are no such images, or the meaning of their labels is unknown.
        """
        _check_limit(limit)
        said = {
            "layout": layout,
            "labels": labels,
            "label": label,
            "generator": generator,
            "columns": columns,
        }
        return cls(*_opened(source, {"split": split, "limit": limit, **said}, Path(folder)))

    @classmethod
    def from_tensors(
        cls,
        images: Any,
        labels: Any,
        *,
        generators: Sequence[str | None] | str | None = None,
        ids: Sequence[Any] | None = None,
        splits: Sequence[str | None] | str | None = None,
        name: str = "tensors",
    ) -> Self:
        """Return image data of images in memory.

        Parameters
        ----------
        images
            A tensor or an array N×3×H×W of floats in [0, 1] or integers from 0 to 255, or a list of 3×H×W ones,
            whose sizes may differ. Floats are rounded to multiples of 1/255.
        labels
            N labels: 0 or ``real``, 1 or ``fake``.
        generators
            Generator of each image, for a real image that of its counterparts; one name for all; or None.
        ids
            Names of the images, unique; six-digit numbers by default. Random streams depend on them.
        splits
            The split of each image, or of all.
        name
            The name of the data in tables and reports.

        Raises
        ------
        UserError
            For an image, a label, a generator or an id that makes no sense, with its number.
        """
        from robustbench_aigen.data.memory import memory_source  # With torch, as everything below.

        return cls(memory_source(images, labels, name=name, generators=generators, ids=ids, splits=splits))

    @classmethod
    def from_images(
        cls,
        images_or_paths: Any,
        labels: Any,
        *,
        generators: Sequence[str | None] | str | None = None,
        ids: Sequence[Any] | None = None,
        splits: Sequence[str | None] | str | None = None,
    ) -> Self:
        """Return image data of a list of PIL images, paths, arrays or tensors; the parameters are those of :meth:`from_tensors`.

        The ids of files are their paths, as they are given; relative ones start at the current folder.

        Raises
        ------
        UserError
            As :meth:`from_tensors` does.
        """
        from robustbench_aigen.data.memory import memory_source

        return cls(
            memory_source(
                images_or_paths, labels, name="images", generators=generators, ids=ids, splits=splits
            )
        )

    @classmethod
    def from_dataset(cls, dataset: "Dataset[Any]", *, labels: Mapping[Any, str] | None = None) -> Self:
        """Return image data of a torch Dataset with items (image, label), as :meth:`from_tensors` takes both.

        Images are read when they are needed, and labels from ``targets`` or ``labels`` where the data set has them.
        Where it names its classes (``classes``, ``class_to_idx``), their names say what the labels mean.

        Parameters
        ----------
        dataset
            An object with ``__len__`` and ``__getitem__``. Items are the same at every read: no random augmentation.
        labels
            The meaning of labels or class names, if not 0 real, 1 fake: ``{0: "fake", 1: "real"}``.

        Raises
        ------
        UserError
            If the data set has no such items, or the meaning of a label is unknown; later, if an item has changed.
        """
        from robustbench_aigen.data.dataset_source import DatasetSource

        return cls(DatasetSource(dataset, labels))

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        *,
        image: str = "path",
        label: str = "label",
        generator: str | None = None,
        split: str | None = None,
        folder: str | Path = ".",
        labels: Mapping[Any, str] | None = None,
    ) -> Self:
        """Return image data of the rows of a data frame.

        Parameters
        ----------
        frame
            A pandas data frame.
        image, label
            The columns of the paths and of the labels.
        generator, split
            The columns of generators and splits; by default those of these names, where there are some.
        folder
            The folder that relative paths start at.
        labels
            The meaning of the labels, if they are neither 0 real, 1 fake, nor words of a class.

        Raises
        ------
        UserError
            If a column is missing, or a cell makes no sense.
        """
        from robustbench_aigen.data.frames import frame_source

        return cls(
            frame_source(
                frame,
                image=image,
                label=label,
                generator=generator,
                split=split,
                folder=folder,
                labels=labels,
            )
        )

    @cached_property
    def selection(self) -> Selection:
        """The images that are meant, as the engine takes them."""
        return with_regions(select(self.source, self.split, self.limit), self.spec, self.folder)

    @property
    def name(self) -> str:
        """The name of the data in tables and reports."""
        return self.source.name

    @property
    def samples(self) -> list[Sample]:
        """Id, label, generator and split of each image that is meant."""
        return self.selection.samples

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices on the reading of the data."""
        return tuple(self.source.notices)

    def __len__(self) -> int:
        return len(self.selection.indices)

    def __repr__(self) -> str:
        limit = "" if self.limit is None else f", limit={self.limit}"
        return f"<ImageData {self.name}: {len(self.source.samples)} images, split={self.split!r}{limit}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.spec is None:
            return type(self), (self.source, self.split, self.limit)
        # Open files do not pickle: what is on disk is opened again.
        said = self.spec.model_dump(mode="json", exclude_unset=True)
        return _reopened, (said, self.split, self.limit, self.folder, _fingerprint(self.source))

    def taking(self, split: str | None = None, limit: int | None = None) -> Self:
        """Return the same data with another split or limit; None keeps what it has."""
        return replace(
            self, split=self.split if split is None else split, limit=self.limit if limit is None else limit
        )

    def audit(
        self,
        *,
        split: str = ALL,
        limit: int | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> "Audit":
        """Check whether file properties separate the classes, and find copies, as ``robust-aigen audit`` does.

        Parameters
        ----------
        split
            ``all`` by default, for every split of the data, because only ``all`` shows copies across splits.
        limit
            Examine at most this many images, stratified.
        advance
            Called with the number of further images examined.

        Raises
        ------
        UserError
            If no image can be read.
        """
        from robustbench_aigen.data.audit.inspection import audit

        _check_limit(limit)
        return audit(select(self.source, split, limit), advance)

    def equalise(
        self,
        folder: str | Path,
        *,
        split: str = ALL,
        limit: int | None = None,
    ) -> Self:
        """Write a copy in which both classes are stored alike, and open it: ``robust-aigen audit --fix``.

        Parameters
        ----------
        folder
            A folder that does not exist, or an empty one.
        split, limit
            Which images, all by default.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        from robustbench_aigen.data.audit.equalised_copy import check_target, write_equalised

        target = Path(folder).expanduser()
        check_target(target, self._place())
        _check_limit(limit)
        selection = select(self.source, split, limit)
        write_equalised(self.audit(split=split, limit=limit), selection, target)
        return self._copy(target)

    def prepare(
        self,
        folder: str | Path,
        *,
        crop_bottom: int | str | None = None,
        split_grid: str | None = None,
        only: str | None = None,
        splits: str | None = None,
        seed: int = 42,
        encoding: Literal["png", "jpeg"] | None = None,
        quality: int | None = None,
    ) -> Self:
        """Write a copy that is cropped, cut apart and split, and open it: ``robust-aigen data prepare``.

        Parameters
        ----------
        folder
            A folder that does not exist, or an empty one.
        crop_bottom
            Height of the strip to cut off the lower edge: pixels (``24``) or per cent (``"8%"``).
        split_grid
            Then cut every image into a grid: rows × columns (``"2x2"``).
        only
            A pattern on ids: only these images are cut.
        splits
            Shares of train, val and test: ``"80/10/10"``, unless the data has splits.
        seed
            Seed of the splits.
        encoding
            Format of all images; by default PNG if anything is cut, else unchanged.
        quality
            Quality of JPEG; 95 unless given.

        Raises
        ------
        UserError
            If the arguments are inconsistent, or the folder cannot be written.
        """
        from robustbench_aigen.data.preparing import Preparation, prepare

        target = Path(folder).expanduser()
        wanted = Preparation.read(
            crop_bottom=None if crop_bottom is None else str(crop_bottom),
            split_grid=split_grid,
            only=only,
            splits=splits,
            seed=seed,
            encoding=encoding,
            quality=quality,
        )
        place = self._place()
        if place is not None and target.resolve().is_relative_to(place.resolve()):
            raise UserError(f"'{target}' lies inside '{place}'", hint="choose a folder outside '{place}'")
        prepare(self.source, target, wanted)
        return self._copy(target)

    def _place(self) -> Path | None:
        """Return the folder or file that the data was opened from."""
        if self.spec is None or self.spec.source is None:
            return None
        path = (self.folder / self.spec.source).expanduser()
        return path if path.exists() else None

    def _copy(self, folder: Path) -> Self:
        """Open a written copy, with the same split where the copy has splits."""
        opened = type(self).open(folder, split=ALL)
        has_split = self.split in {sample.split for sample in opened.source.samples}
        return opened.taking(self.split if has_split else ALL, self.limit)


def as_image_data(data: DataLike, split: str | None = None, limit: int | None = None) -> ImageData:
    """Return image data from any supported input.

    Parameters
    ----------
    data
        :class:`ImageData`, the name or path of a source, a mapping as in YAML, a pair of images and labels, a torch
        Dataset, or a data frame.
    split
        One of the splits. None: the split declared in the data, ``test`` for named sources, ``all`` in memory.
    limit
        Largest number of images; None for the limit of the data.

    Raises
    ------
    UserError
        If the data have another type or are inconsistent.
    """
    if isinstance(data, ImageData):
        return data.taking(split, limit)
    if isinstance(data, str | Path | Mapping):
        _check_limit(limit)
        return ImageData(*_opened(data, {"split": split, "limit": limit}, Path()))
    return _in_memory(data).taking(split, limit)


def _opened(
    source: object, said: Mapping[str, Any], folder: Path
) -> tuple[ImageSource, str, int | None, DataSpec, Path]:
    """Open what a scenario could name; return the fields of :class:`ImageData`."""
    if isinstance(source, str | Path):
        content: dict[str, Any] = {"source": source}
    elif isinstance(source, Mapping):
        content = dict(source)
    elif isinstance(source, Sequence):
        content = {"sources": source}
    else:
        raise UserError(f"{type(source).__name__} is not a source of images", hint=_FORMS)
    content |= {key: value for key, value in said.items() if value is not None}
    content |= {key: _as_text(content[key]) for key in ("source", "sources") if key in content}
    folder = folder.expanduser().resolve()  # A program may change its folder before the images are read.
    # With a single source no place needs to be named.
    spec = validated(
        DataSpec, LocatedYaml(NOWHERE if "sources" in content else Path("data"), content), "data"
    )
    opened = open_data(spec, folder)
    return opened, spec.split, spec.limit, spec, folder


def _reopened(
    said: Mapping[str, Any], split: str, limit: int | None, folder: Path, expected: str
) -> ImageData:
    """Open data again that was pickled."""
    opened = _opened({**said, "split": split}, {"limit": limit}, folder)
    if _fingerprint(opened[0]) != expected:
        raise UserError(
            f"{opened[0].name} has other images than when the data was pickled", hint="open the data again"
        )
    return ImageData(*opened)


def _fingerprint(source: ImageSource) -> str:
    return fingerprint(sample[:4] for sample in source.samples)


def _in_memory(data: Any) -> ImageData:
    if isinstance(data, tuple | list):
        if len(data) == 2:
            return ImageData.from_tensors(*data) if _is_stack(data[0]) else ImageData.from_images(*data)
        raise UserError(f"a {type(data).__name__} of {len(data)} is not (images, labels)", hint=_FORMS)
    pandas = sys.modules.get("pandas")
    if (pandas is not None and isinstance(data, pandas.DataFrame)) or hasattr(data, "to_pandas"):
        return ImageData.from_frame(data)
    if _is_stack(data) or type(data).__module__.startswith("PIL."):
        raise UserError("images without labels", hint="give both: (images, labels)")
    if isinstance(data, type) or not (hasattr(data, "__getitem__") or hasattr(data, "dataset")):
        raise UserError(f"{type(data).__name__} is not a source of images", hint=_FORMS)
    return ImageData.from_dataset(data)


def _is_stack(images: object) -> bool:
    return hasattr(images, "shape") and hasattr(images, "dtype")


def _check_limit(limit: object) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UserError(
            f"limit={limit!r} is not a number of images", hint="a whole number from 1, or None for all"
        )


def _as_text(source: object) -> object:
    """Return a source with its paths as text, as YAML has them."""
    if isinstance(source, Path):
        return str(source)
    if isinstance(source, Mapping):
        return {key: _as_text(value) for key, value in source.items()}
    return [_as_text(value) for value in source] if isinstance(source, list | tuple) else source
