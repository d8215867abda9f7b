"""A folder of images whose sub-folders name class, split and generator, in any order and at any depth."""

import os
from collections import Counter
from pathlib import Path

from robustbench_aigen.data.class_folders import FolderReader, Roles, Told
from robustbench_aigen.data.file_reading import read_file
from robustbench_aigen.data.samples import Sample
from robustbench_aigen.data.vocabulary import NO_LABELS, Labels
from robustbench_aigen.data.walking import files_below
from robustbench_aigen.errors import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jfif", ".mpo"}
)
_KNOWN = {
    ("generator", "split", "class"): "GenImage",
    ("split", "class"): "CIFAKE",
    ("generator", "class"): "CNNDetection",
    ("generator", "category", "class"): "CNNDetection",
    ("split", "category", "class"): "CNNDetection",
    ("split", "generator", "class"): "CNNDetection",
    ("split", "generator", "category", "class"): "CNNDetection",
}


class FolderSource:
    """Images below a folder, such as ``{ai,real}``, ``{train,val,test}/{FAKE,REAL}`` or ``ADM/val/{ai,nature}``.

    :class:`robustbench_aigen.data.class_folders.FolderReader` says how names are read. Fakes without a generator are
    generator ``fake``; reals without one belong to all.

    Parameters
    ----------
    folder
        The root.
    labels, label, layout
        What the user says of class folders, of the class of all images, of the levels of folders.

    Raises
    ------
    UserError
        If there are no images, or images of which neither class can be told, or names that say two things.
    """

    def __init__(
        self,
        folder: Path,
        labels: Labels = NO_LABELS,
        label: int | None = None,
        layout: Roles | None = None,
    ) -> None:
        self.name = folder.resolve().name
        files = files_below(folder, SUFFIXES)
        if not files:
            raise UserError(
                f"no images in {folder}", hint=f"looked for {', '.join(sorted(SUFFIXES))} at any depth"
            )
        inner = {file.parent: file.parent.relative_to(folder) for file in files}
        reader = FolderReader(inner.values(), labels, label, layout)
        told = {parent: reader.read(relative) for parent, relative in inner.items()}
        self._files = [file for file in files if told[file.parent] is not None]
        self.samples = [_sample(file.relative_to(folder), told[file.parent]) for file in self._files]
        left_out = [inner[file.parent] for file in files if told[file.parent] is None]
        if not self.samples:
            raise _no_class(folder, left_out, layout)
        self.notices: list[str] = []
        if left_out:
            folders = sorted({str(relative) for relative in left_out})
            shown = ", ".join(folders[:3]) + (" …" if len(folders) > 3 else "")
            self.notices.append(f"{len(left_out)} images are left out: their folders name no class ({shown})")
        self.layout = _described(Counter(told[file.parent] for file in self._files))

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return read_file(self._files[index])


def _sample(file: Path, told: Told | None) -> Sample:
    assert told is not None
    return Sample(printable(file), told.label, told.generator, told.split)


def _no_class(folder: Path, left_out: list[Path], layout: Roles | None) -> UserError:
    if layout is not None:
        example = left_out[0] / "…"
        return UserError(f"{folder} is not laid out as {'/'.join(layout)}: it has {example}")
    # The level just above the images is where classes usually stand.
    names = sorted({relative.name for relative in left_out if relative.name})
    if len(names) > 1:
        hint = f"say what the folders mean, such as labels: {{{names[0]}: real, {names[1]}: fake}}"
    else:
        hint = "put the images into sub-folders such as real/ and fake/, or say label: real or label: fake of all of them"
    return UserError(f"cannot tell real from fake in {folder}: no sub-folder has a class name", hint=hint)


def _described(images: Counter[Told | None]) -> str:
    """Write the roles of the levels of folders, the commonest first, and whose layout that is."""
    patterns: Counter[Roles] = Counter()
    for told, count in images.items():
        assert told is not None
        roles = list(told.roles)
        while roles and roles[-1] == "category":
            del roles[-1]
        patterns[tuple(roles)] += count
    names = ["/".join(roles) or "no folders" for roles, _ in patterns.most_common()]
    known = {_KNOWN.get(roles) for roles in patterns}
    like = f", as in {known.pop()}" if len(known) == 1 and known != {None} else ""
    return f"folders {', '.join(names[:3])}{' …' if len(names) > 3 else ''}{like}"


def printable(file: Path) -> str:
    """Return a path as text that can be stored: bytes that are not UTF-8 become escapes."""
    return os.fsencode(file.as_posix()).decode("utf-8", "backslashreplace")
