"""A clean folder of images from a raw one: cropped, taken apart, one format, split without near-duplicates across."""

import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from PIL import Image
from torch import Tensor

from robustbench_aigen.data.arranging import Piece, arrange
from robustbench_aigen.data.cutting import BottomCrop, Grid, cut, read_crop, read_grid
from robustbench_aigen.data.near_duplicates import fingerprint
from robustbench_aigen.data.samples import CLASS_NAMES, ImageSource, read_encoded
from robustbench_aigen.data.splitting import read_shares
from robustbench_aigen.errors import UserError, shortened
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode, opened_image

Format = Literal["png", "jpeg"]
_PIECES = ".pieces"
"""Folder of images whose splits are not known yet."""


@dataclass(frozen=True)
class Preparation:
    """The settings of a preparation.

    Parameters
    ----------
    crop, grid
        The strip to cut off every image, and the grid to divide the rest by; None for no cut.
    only
        A glob pattern on the images' ids: only these are cut.
    shares
        The fractions of the splits; None keeps those that the source has and otherwise takes 80/10/10.
    seed
        Seed of the splits.
    encoding
        Of every image written. None: PNG where anything is cut, so that nothing is lost twice, and otherwise the
        files as they are.
    quality
        Quality of JPEG, 4:4:4 above 90.
    """

    crop: BottomCrop | None = None
    grid: Grid | None = None
    only: str | None = None
    shares: Mapping[str, float] | None = None
    seed: int = 42
    encoding: Format | None = None
    quality: int = 95

    @classmethod
    def read(
        cls,
        *,
        crop_bottom: str | None,
        split_grid: str | None,
        only: str | None,
        splits: str | None,
        seed: int,
        encoding: Format | None,
        quality: int | None,
    ) -> Self:
        """Read what a user writes: ``24`` or ``8%`` off the lower edge, a grid of ``2x2``, splits of ``80/10/10``.

        Raises
        ------
        UserError
            If a value makes no sense, or needs another that is not given.
        """
        if encoding not in (None, "png", "jpeg"):
            raise UserError(f"'{encoding}' is not an output format", hint="png or jpeg")
        if quality is not None and encoding != "jpeg":
            raise UserError("--quality needs --format jpeg", hint="add --format jpeg")
        if quality is not None and not 1 <= quality <= 100:
            raise UserError(f"quality {quality} is not a JPEG quality", hint="1 to 100")
        wanted = cls(
            crop=None if crop_bottom is None else read_crop(crop_bottom),
            grid=None if split_grid is None else read_grid(split_grid),
            only=only,
            shares=None if splits is None else read_shares(splits),
            seed=seed,
            encoding=encoding,
            quality=quality or 95,
        )
        if only is not None and wanted.crop is None and wanted.grid is None:
            raise UserError(
                "--only needs --crop-bottom or --split-grid", hint="--only restricts which images are cut"
            )
        return wanted

    @property
    def written_as(self) -> Format | None:
        """The format of every image, None where files are copied."""
        return self.encoding or ("png" if self.crop or self.grid else None)


class Prepared(NamedTuple):
    """A prepared copy.

    ``counts`` has the number of images of each (split, class, generator), ``unusable`` the ids that could not be
    read or cut with the reasons, ``notices`` what the user should know.
    """

    folder: Path
    counts: Counter[tuple[str, str, str]]
    unusable: dict[str, str]
    notices: list[str]


def prepare(
    source: ImageSource,
    out: Path,
    wanted: Preparation,
    progress: Callable[[], None] = lambda: None,
) -> Prepared:
    """Write a prepared copy of a source: ``OUT/<split>/[<generator>/]{real,fake}/…`` with ``prepared.csv``.

    Pieces of one image, and images that look alike, come into one split. All images are written in one format,
    of any class. The folder appears when it is whole.

    Parameters
    ----------
    source
        Any data source.
    out
        The folder to make.
    wanted
        The cuts, the splits and the format.
    progress
        Called once for every image of the source.

    Raises
    ------
    UserError
        If ``out`` exists, cannot be written, or nothing of the source can be used.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"'{shortened(str(out))}' exists", hint="name a new folder, or delete it first")
    chosen = _chosen(source, wanted)
    with writing(f"'{shortened(str(out))}'", "choose another folder"), atomic_folder(out) as whole:
        pieces, unusable = _cut_all(source, whole / _PIECES, wanted, chosen, progress)
        if not pieces:
            name, reason = next(iter(unusable.items()))
            raise UserError(f"no image can be used ({len(unusable)} tried); {name}: {reason}")
        counts = arrange(pieces, whole, wanted.shares, wanted.seed)
        (whole / _PIECES).rmdir()
        _describe(whole, source, wanted, counts, unusable)
    return Prepared(out, counts, unusable, _notices(source, wanted, chosen))


def _chosen(source: ImageSource, wanted: Preparation) -> set[int]:
    """Return the indices of what is cut."""
    if wanted.only is None:
        return set(range(len(source.samples)))
    chosen = {index for index, sample in enumerate(source.samples) if fnmatch(sample.id, wanted.only)}
    if not chosen:
        examples = ", ".join(sample.id for sample in source.samples[:2])
        raise UserError(
            f"no image matches '{shortened(wanted.only)}'", hint=f"paths are for example {examples}, …"
        )
    return chosen


def _cut_all(
    source: ImageSource, work: Path, wanted: Preparation, chosen: set[int], progress: Callable[[], None]
) -> tuple[list[Piece], dict[str, str]]:
    """Write every piece under a number, in the order of the source."""
    work.mkdir()
    pieces: list[Piece] = []
    unusable: dict[str, str] = {}
    for index, sample in enumerate(source.samples):
        encoded = read_encoded(source, index)
        crop, grid = (wanted.crop, wanted.grid) if index in chosen else (None, None)
        try:
            parts = list(cut(decode(encoded), crop, grid))
        except UnreadableImageError as error:
            unusable[sample.id] = str(error)
            progress()
            continue
        for number, part in enumerate(parts):
            content, suffix = _encoded(part, wanted) if wanted.written_as else (encoded, _suffix(encoded))
            file = work / f"{len(pieces):09}{suffix}"
            file.write_bytes(content)
            row, column = divmod(number, grid.columns if grid else 1)
            stem = Path(sample.id).stem + (f"_r{row + 1}c{column + 1}" if grid else "")
            own = sample._replace(id=f"{sample.id}#{number}")
            pieces.append(Piece(file, own, sample.id, stem, fingerprint(content)))
        progress()
    return pieces, unusable


def _encoded(part: Tensor, wanted: Preparation) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(part.permute(1, 2, 0).numpy()))
    if wanted.written_as == "png":
        image.save(buffer, "PNG")
        return buffer.getvalue(), ".png"
    image.save(buffer, "JPEG", quality=wanted.quality, subsampling=0 if wanted.quality > 90 else 2)
    return buffer.getvalue(), ".jpg"


def _suffix(encoded: bytes) -> str:
    with opened_image(encoded) as image:
        return {"JPEG": ".jpg", "TIFF": ".tif"}.get(image.format or "", f".{(image.format or 'img').lower()}")


def _describe(
    folder: Path,
    source: ImageSource,
    wanted: Preparation,
    counts: Counter[tuple[str, str, str]],
    unusable: dict[str, str],
) -> None:
    shares = wanted.shares and {name: round(share, 6) for name, share in wanted.shares.items()}
    crop = wanted.crop and (f"{100 * wanted.crop.amount:g}%" if wanted.crop.is_share else wanted.crop.amount)
    content = {
        "source": source.name,
        "crop_bottom": crop,
        "split_grid": wanted.grid and f"{wanted.grid.rows}x{wanted.grid.columns}",
        "only": wanted.only,
        "splits": shares,
        "seed": wanted.seed,
        "format": wanted.written_as or "as it was",
        "quality": wanted.quality if wanted.written_as == "jpeg" else None,
        "images": [[*key, count] for key, count in sorted(counts.items())],
        "unusable": unusable,
    }
    (folder / "prepared.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _notices(source: ImageSource, wanted: Preparation, chosen: set[int]) -> list[str]:
    notices = list(source.notices)
    if (wanted.crop or wanted.grid) and len({source.samples[index].label for index in chosen}) == 1:
        label = CLASS_NAMES[source.samples[next(iter(chosen))].label]
        if {sample.label for sample in source.samples} == {0, 1}:
            notices.append(
                f"only {label} images were cut: image sizes may now separate the classes; audit the result"
            )
    return notices
