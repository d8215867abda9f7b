"""Pictures that a stranger drops: read within limits, or refused in a sentence."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torch import Tensor

from robustbench_aigen.data.image_files import SUFFIXES
from robustbench_aigen.errors import UserError
from robustbench_aigen.file_reading import RefusedFileError, read_file
from robustbench_aigen.numerics.decoding import UnreadableImageError, decode, opened_image

MOST_PIXELS = 16_000_000
"""Largest number of pixels of a picture: a map of more takes minutes and gigabytes."""
_MOST_LETTERS = 60


@dataclass(frozen=True)
class Upload:
    """A picture that was read.

    Parameters
    ----------
    name
        A file name of plain letters, with the suffix of the file: part of the picture's id in a run.
    encoded
        The bytes of the file.
    levels
        3×H×W uint8.
    """

    name: str
    encoded: bytes
    levels: Tensor


def read_upload(file: str | Path) -> Upload:
    """Return the picture of a file.

    Raises
    ------
    UserError
        If the file is not a picture, damaged, of more than 16 million pixels, or of one pixel.
    """
    path = Path(file)
    name = _plain(path.name)
    try:
        encoded = read_file(path)
        with opened_image(encoded) as image:
            width, height = image.size
        if width * height > MOST_PIXELS:
            raise UserError(
                f"'{name}' has {width}×{height} pixels, and the page takes at most {MOST_PIXELS / 1e6:.0f} million",
                hint="drop a smaller picture or a crop",
            )
        levels = decode(encoded)
    except (UnreadableImageError, RefusedFileError, OSError) as error:
        raise UserError(
            f"'{name}' cannot be read as a picture: {error}", hint="drop a PNG, JPEG or WebP file"
        ) from error
    if levels[0].numel() == 1:
        raise UserError(f"'{name}' has one pixel, which has no map", hint="drop a larger picture")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"'{name}' has no suffix of a picture",
            hint="name the file .png, .jpg or .webp, and drop it again",
        )
    return Upload(name, encoded, levels)


def _plain(name: str) -> str:
    """Return a file name without letters that mean something in YAML, a shell or HTML."""
    path = PurePosixPath(name)
    stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in path.stem)
    suffix = "".join(letter for letter in path.suffix.lower() if letter.isalnum() or letter == ".")
    return f"{stem.strip('.')[:_MOST_LETTERS] or 'picture'}{suffix}"
