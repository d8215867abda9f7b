"""Writes a copy of a data set in which both classes are stored alike."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from robustbench_aigen.data.audit.equalising import StorageRule, choose_recipe, left_out
from robustbench_aigen.data.audit.inspection import Audit
from robustbench_aigen.data.placing import Placing
from robustbench_aigen.data.samples import ImageSource, Sample, read_encoded
from robustbench_aigen.data.selection import Selection
from robustbench_aigen.errors import UserError
from robustbench_aigen.files import atomic_folder, writing
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode
from robustbench_aigen.numerics.parallel_map import in_threads

RECORD = "equalised.json"


class Copy(NamedTuple):
    """A written copy: its recipe, its number of images, and the reasons for images left out."""

    folder: Path
    recipe: StorageRule
    images: int
    left_out: dict[str, int]


def check_target(folder: Path, source: Path | None) -> None:
    """Raise UserError unless an equalised copy can be written to a folder, before any image is read."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"'{folder}' exists already", hint="give --fix a folder that does not exist")
    if source is not None and source.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise UserError(
            f"'{folder}' is inside the data set to copy", hint="choose a folder outside the data set"
        )


def write_equalised(
    audit: Audit,
    selection: Selection,
    folder: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> Copy:
    """Write the images of an audit, both classes alike, as ``[split/][generator/]{real,fake}/number_name``.

    The folder appears when it is whole. ``equalised.json`` in it says how the files were made and from which images.

    Parameters
    ----------
    audit, selection
        The findings of the audit, and the audited images.
    folder
        Folder of the copy: a new or an empty folder.
    advance
        Called with the number of newly finished images.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    check_target(folder, None)
    recipe = choose_recipe(audit.surveyed)
    reasons: dict[str, str] = dict.fromkeys((problem.sample for problem in audit.unreadable), "unreadable")
    reasons |= left_out(audit, recipe)
    samples = selection.source.samples
    indices = [index for index in selection.indices if samples[index].id not in reasons]
    made_from: dict[str, str] = {}
    with writing(f"'{folder}'", "give --fix another folder"), atomic_folder(folder) as partial:
        for index, target, failure in _written(selection.source, indices, partial, recipe):
            if failure is None:
                made_from[target.as_posix()] = samples[index].id
            else:
                reasons[samples[index].id] = "unreadable"
            advance(1)
        record = {**recipe._asdict(), "source": audit.source, "left_out": reasons, "files": made_from}
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return Copy(folder, recipe, len(made_from), dict(Counter(reasons.values())))


def _written(
    source: ImageSource, indices: Sequence[int], folder: Path, recipe: StorageRule
) -> Iterator[tuple[int, Path, str | None]]:
    """Write images in threads; yield the index of each, its file and why it cannot be read, if it cannot."""
    placing = Placing()
    targets = [
        placing.file(sample, f"{number:06}_{_stem(sample)}", recipe.suffix)
        for number, sample in enumerate(source.samples[index] for index in indices)
    ]

    def write(work: tuple[bytes, Path]) -> str | None:
        return _write(*work, recipe)

    given = (
        (read_encoded(source, index), folder / target) for index, target in zip(indices, targets, strict=True)
    )
    yield from zip(indices, targets, in_threads(write, given), strict=True)


def _stem(sample: Sample) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(sample.id).stem)[-60:].lstrip(".")


def _write(encoded: bytes, file: Path, recipe: StorageRule) -> str | None:
    """Write one image; return why it cannot be read."""
    try:
        levels = decode(encoded)
    except UnreadableImageError as error:
        return str(error)
    image = _fitted(Image.fromarray(levels.permute(1, 2, 0).numpy()), recipe)
    file.parent.mkdir(parents=True, exist_ok=True)
    if recipe.quality is None:
        image.save(file)
    else:
        image.save(file, "JPEG", quality=recipe.quality, subsampling="4:2:0")
    return None


def _fitted(image: Image.Image, recipe: StorageRule) -> Image.Image:
    """Scale an image down until its shorter side fits, and cut the middle out."""
    size = (recipe.width, recipe.height)
    if image.size == size:
        return image
    scale = max(recipe.width / image.width, recipe.height / image.height)
    scaled = (
        max(recipe.width, round(image.width * scale)),
        max(recipe.height, round(image.height * scale)),
    )
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.LANCZOS)
    left, top = (image.width - recipe.width) // 2, (image.height - recipe.height) // 2
    return image.crop((left, top, left + recipe.width, top + recipe.height))
