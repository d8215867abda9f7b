"""Split and generator of listed images, from the folders in their paths.

A list, a table or a tar file gives the label of each image. The folders of its paths are read by the words of
:mod:`robustbench_aigen.data.class_folders` all the same.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath

from robustbench_aigen.data.class_folders import FolderReader, Told
from robustbench_aigen.data.columns import TableMeaning
from robustbench_aigen.data.samples import CLASS_NAMES, REAL_POOL, Sample
from robustbench_aigen.errors import UserError
from robustbench_aigen.notices import warning
from robustbench_aigen.text import counted
from robustbench_aigen.words import generator_in, is_weak, label_of, names_generator, split_of

_MOST = 100
"""More folders of fakes than these, few of which are called after published generators, are prompts or subjects."""
_SHOWN = 4
_NUMBER = re.compile(r"[-_.]?\d+-of-\d+|[-_.]\d+(?=$|[-_.])|\d{3,}$")
"""Numbers in the names of files that continue each other."""

_Read = Callable[[PurePath], Told | None]


def folder_of(path: str | None) -> PurePosixPath:
    """Return the folder in a path of any system; of none an empty one."""
    return PurePosixPath((path or "").removeprefix("file://").replace("\\", "/")).parent


def below_what_all_share(folders: Sequence[PurePosixPath], root: Path) -> list[PurePosixPath]:
    """Return folders relative to a list's own, and absolute ones elsewhere relative to what they have in common."""
    own = root.resolve()
    outside = {folder for folder in folders if folder.is_absolute() and not folder.is_relative_to(own)}
    above = PurePosixPath(os.path.commonpath(outside)) if outside else PurePosixPath("/")
    relative = {
        folder: folder.relative_to(own if folder.is_relative_to(own) else above)
        for folder in set(folders)
        if folder.is_absolute()
    }
    return [relative.get(folder, folder) for folder in folders]


def split_of_folders(folder: PurePath) -> str | None:
    """Return the split that the deepest folder of a path with such a name tells."""
    return next((split for part in reversed(folder.parts) if (split := split_of(part))), None)


def generator_of_file(stem: str) -> PurePosixPath:
    """Return the generator after which a file of many images is called, as a folder; empty if the name is not a generator.

    >>> generator_of_file("midjourney-train-00001-of-00003"), generator_of_file("train-00001-of-00003")
    (PurePosixPath('midjourney'), PurePosixPath('.'))
    """
    return PurePosixPath(generator_in(_NUMBER.sub("", stem))) if names_generator(stem) else PurePosixPath()


def told_by_paths(
    samples: Sequence[Sample], folders: Sequence[PurePosixPath], meaning: TableMeaning
) -> tuple[list[Sample], list[str]]:
    """Assign generators from the folders of the paths, if nothing else declares generators.

    Fakes get it from any folder that could be a generator's, reals from one that fakes have as well.

    Parameters
    ----------
    samples
        All of a source.
    folders
        The folders of each path.
    meaning
        The user's keys on the source; ``roles`` has the meaning of each level of folders.

    Returns
    -------
    samples, notices
        The samples, and lines on what was read, or what could be a generator and is not taken for one.
    """
    notices = _contradicted(samples, folders, meaning)
    is_told = any(sample.generator != ("fake" if sample.label else REAL_POOL) for sample in samples)
    if is_told or not any(sample.label for sample in samples) or not any(folder.parts for folder in folders):
        return list(samples), notices
    if meaning.roles is not None:
        return _as_said(samples, folders, meaning), notices
    return _read(samples, folders, meaning, notices)


def _as_said(
    samples: Sequence[Sample], folders: Sequence[PurePosixPath], meaning: TableMeaning
) -> list[Sample]:
    readers = [FolderReader(set(folders), label=label, layout=meaning.roles) for label in (0, 1)]
    found = []
    for sample, folder in zip(samples, folders, strict=True):
        told = readers[sample.label].read(folder)
        found.append(
            sample
            if told is None
            else sample._replace(generator=told.generator, split=told.split or sample.split)
        )
    return found


def _read(
    samples: Sequence[Sample], folders: Sequence[PurePosixPath], meaning: TableMeaning, notices: list[str]
) -> tuple[list[Sample], list[str]]:
    by_class = _reading(FolderReader(set(folders), meaning.labels))
    shared = _shared(folders)
    # Under the class that the label tells, folders mean what they mean below a class folder.
    below = [
        PurePosixPath(
            CLASS_NAMES[sample.label],
            *(part for part in folder.parts[shared:] if label_of(part) in (None, sample.label)),
        )
        for sample, folder in zip(samples, folders, strict=True)
    ]
    reader = FolderReader(set(below))
    by_label = _reading(reader)
    names: list[str | None] = []
    guessed: set[str] = set()
    for sample, folder, labelled in zip(samples, folders, below, strict=True):
        told = by_class(folder)
        is_guess = told is None or told.label != sample.label
        told = by_label(labelled) if is_guess else told
        name = told.generator if told is not None and told.generator not in CLASS_NAMES else None
        names.append(name)
        if is_guess and name is not None:
            guessed.add(name)
    of_fakes = {name for name, sample in zip(names, samples, strict=True) if name and sample.label}
    if len(of_fakes) > _MOST and 2 * sum(map(names_generator, of_fakes)) < len(of_fakes):
        notices.append(
            f"{len(of_fakes)} folders of fakes in the paths are too many to be read as generators; for generators, add a column generator"
        )
        return list(samples), notices
    found = []
    for sample, folder, name in zip(samples, folders, names, strict=True):
        # Reals among the fakes of a generator are its counterpart.
        beside = [part for part in folder.parts[shared:] if part in of_fakes and not sample.label]
        own = name or next(iter(beside), None)
        found.append(sample if own is None else sample._replace(generator=own))
    if guessed & of_fakes:
        notices.append(
            f"generators come from the paths: {_listed(guessed & of_fakes)}; columns: {{generator: …}} selects a column instead"
        )
    if any(sample.label and sample.generator == "fake" for sample in found):
        notices += _kinds(reader.kinds, folders)
    return found, notices


def _kinds(kinds: Collection[str], folders: Sequence[PurePosixPath]) -> list[str]:
    """Name the folders with images of both classes that could be generators, and the layout that makes them some."""
    places = [place for folder in set(folders) for place, part in enumerate(folder.parts) if part in kinds]
    if not places:
        return []
    layout = "/".join([*["category"] * min(places), "generator"])
    told = "folders in the paths with images of both classes are read as kinds of pictures, not as generators"
    return [f"{told}: {_listed(kinds)}; if they are generators, layout: {layout}"]


def _contradicted(
    samples: Sequence[Sample], folders: Sequence[PurePosixPath], meaning: TableMeaning
) -> list[str]:
    """Return a line on images whose label contradicts a class folder in the path; empty if there are no such images."""
    if meaning.label is not None or meaning.roles is not None:
        return []
    # One by one: a single path with contradictory names does not affect the others.
    by_folder = {folder: _plainly_told(folder) for folder in set(folders)}
    told = [by_folder[folder] for folder in folders]
    if len({*told} - {None}) < 2:
        return []  # One name above all of them, such as ai_dataset/.
    wrong = [
        sample
        for sample, label in zip(samples, told, strict=True)
        if label is not None and label != sample.label
    ]
    if not wrong:
        return []
    first, of = wrong[0], f"of {counted(len(samples), 'label')}"
    return [
        warning(
            f"{counted(len(wrong), f'{of} contradicts', f'{of} contradict')} the class folders in the images' paths "
            f"({first.id} is labelled {CLASS_NAMES[first.label]}); the labels are used; correct the labels, or declare their meaning with labels: {{…: real, …: fake}}"
        )
    ]


def _plainly_told(folder: PurePath) -> int | None:
    """Return the label that a plain name of a class in a path tells; what may be a kind of picture tells none."""
    told = _reading(FolderReader([folder]))(folder)
    if told is None:
        return None
    names = [part for part, role in zip(folder.parts, told.roles, strict=True) if role.startswith("class")]
    return None if all(map(is_weak, names)) else told.label


def _reading(reader: FolderReader) -> _Read:
    """Return a cached reader of folders, which ignores folders with contradictory names."""
    known: dict[PurePath, Told | None] = {}

    def read(folder: PurePath) -> Told | None:
        if folder not in known:
            try:
                known[folder] = reader.read(folder)
            except UserError:
                known[folder] = None
        return known[folder]

    return read


def _shared(folders: Iterable[PurePosixPath]) -> int:
    """Return the number of folders that all paths share, above the first with the name of a published generator."""
    different = {folder.parts for folder in folders}
    levels = zip(*different, strict=False)
    shared = takewhile(lambda names: len(set(names)) == 1 and not names_generator(names[0]), levels)
    return len(list(shared))


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (" …" if len(ordered) > _SHOWN else "")
