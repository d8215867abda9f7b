"""Input pictures of a command, and output paths of attacked pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def find_pictures(given: list[Path]) -> tuple[dict[Path, Path], list[str]]:
    """Return all pictures with their paths below the given folders, each once, and the skipped files."""
    from robustbench_aigen.data.image_files import find_images
    from robustbench_aigen.errors import UserError, shortened
    from robustbench_aigen.scenario.words import printable

    pictures: dict[Path, Path] = {}
    notices: list[str] = []
    for path in given:
        try:
            is_folder, there = path.is_dir(), path.exists()
        except OSError as error:
            raise UserError(f"'{shortened(printable(path))}' cannot be opened: {error.strerror}") from error
        if not there:
            raise UserError(f"no picture or folder '{printable(path)}'")
        inside: dict[Path, Path] = {}
        if is_folder:
            images = find_images(path)
            again = {place for places in images.same for place in places[1:]}
            once = [file for index, file in enumerate(images.files) if index not in again]
            inside = {file: file.relative_to(path) for file in once}
            notices += images.notices
        for file, inner in (inside or {path: Path(path.name)}).items():
            pictures.setdefault(file, inner)
    return pictures, notices


def choose_targets(files: dict[Path, Path], folder: Path) -> dict[Path, Path]:
    """Return the output path of each picture: its own name, plus the suffix if two names would be equal."""
    from robustbench_aigen.data.placing import Names
    from robustbench_aigen.errors import UserError

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--save needs a folder, and '{folder}' is not a folder")
    targets: dict[Path, Path] = {}
    taken = Names()
    sources = {file.resolve() for file in files}
    for file, inner in files.items():
        choices = [inner.with_suffix(".png"), inner.with_name(f"{inner.name}.png")]
        choices += [inner.with_name(f"{inner.stem}_{number}.png") for number in range(2, len(files) + 2)]
        target = folder / next(choice for choice in choices if taken.take(choice))
        if target.resolve() in sources:
            raise UserError(f"--save would overwrite '{target}'", hint="choose another folder with --save")
        targets[file] = target
    return targets


def write_png(file: Path, levels: "Tensor") -> None:
    """Write a uint8 3×H×W picture atomically."""
    import io

    from PIL import Image

    from robustbench_aigen.files import atomic_file, writing

    buffer = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    with writing("pictures", "choose another folder with --save"), atomic_file(file) as stream:
        stream.write(buffer.getvalue())
