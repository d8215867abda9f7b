"""A folder of images whose sub-folders name class, split and generator, in any order and at any depth."""

import os
from pathlib import Path

from robustbench_aigen.data.samples import REAL_POOL, Sample
from robustbench_aigen.data.vocabulary import label_of, split_of
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jfif", ".mpo"}
)


class FolderSource:
    """Images below a folder, such as ``{ai,real}``, ``{train,val,test}/{FAKE,REAL}`` or ``ADM/val/{ai,nature}``.

    The deepest folder with a class name gives the label, one named like a split the split, and the first of the
    others the generator (for reals, of those above the class). Fakes without one are generator ``fake``; reals without one belong to all.

    Raises
    ------
    UserError
        If there are no images, or images of which neither class can be told.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        files = files_below(folder, SUFFIXES)
        if not files:
            raise UserError(
                f"no images in {folder}", hint=f"looked for {', '.join(sorted(SUFFIXES))} at any depth"
            )
        self._files: list[Path] = []
        self.samples: list[Sample] = []
        left_out: list[Path] = []
        for file in files:
            sample = _sample(file.relative_to(folder))
            if sample is None:
                left_out.append(file)
            else:
                self._files.append(file)
                self.samples.append(sample)
        if not self.samples:
            raise UserError(
                f"cannot tell real from fake in {folder}: no sub-folder has a class name",
                hint="put the images into sub-folders such as real/ and fake/ (or nature/ and ai/)",
            )
        self.notices = []
        if left_out:
            folders = sorted({str(file.parent.relative_to(folder)) for file in left_out})
            shown = ", ".join(folders[:3]) + (" …" if len(folders) > 3 else "")
            self.notices.append(f"{len(left_out)} images are left out: their folders name no class ({shown})")

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return self._files[index].read_bytes()


def _sample(file: Path) -> Sample | None:
    parts = file.parts[:-1]
    labelled = [position for position, part in enumerate(parts) if label_of(part) is not None]
    if not labelled:
        return None
    label = label_of(parts[labelled[-1]])
    assert label is not None
    above, below = parts[: labelled[-1]], parts[labelled[-1] + 1 :]
    splits = [split for part in (*above, *below) if (split := split_of(part)) is not None]
    # Below the real class stand kinds of photographs; only a folder above it says whose counterpart they are.
    generators = [part for part in (*above, *(below if label else ())) if split_of(part) is None]
    generator = generators[0] if generators else ("fake" if label else REAL_POOL)
    return Sample(_printable(file), label, generator, splits[0] if splits else None)


def _printable(file: Path) -> str:
    """Return a path as text that can be stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(file.as_posix()).decode("utf-8", "backslashreplace")
